"""Rerun from failure, on real commits: what is left runs, and what moved in between is told."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from mage_dbt.errors import BadCommit, BadVariable, Conflict, NothingLeft
from mage_dbt.request import Request
from mage_dbt.run import Run, RunState
from tests.dbt.conftest import Stack, git

PROJECT = "steps"

FACTS = """{{ config(materialized='incremental', unique_key='id') }}
-- One row a number.
select
    id,
    amount
from {{ ref('numbers') }}
"""

BROKEN = FACTS.replace("    amount\n", "    amount / 0 as amount\n")


@pytest.fixture(autouse=True)
def the_project_as_it_was(stack: Stack) -> Iterator[None]:
    """Each test begins with the models of the project's first commit."""
    models = stack.repository / "models"
    before = {one.name: one.read_text() for one in models.iterdir()}
    yield
    for one in models.iterdir():
        if one.name not in before:
            one.unlink()
    for name, text in before.items():
        (models / name).write_text(text)
    if git(stack.repository, "status", "--porcelain"):
        stack.live(stack.commit("Back to the beginning"))


def names(run: Run) -> set[str]:
    return {one.name for one in run.nodes}


def failed_build(stack: Stack, **request: object) -> Run:
    """A build of `numbers+` whose model facts fails."""
    stack.live(stack.commit("Break facts", facts=BROKEN))
    run = stack.run(select="numbers+", **request)
    assert run.state is RunState.ERROR and "facts" in run.detail, run.detail
    return run


def test_a_failed_model_is_repaired_by_a_commit_and_the_story_tells_it(stack: Stack) -> None:
    failed = failed_build(stack, variables={"size": 4})
    still = stack.run(operation="rerun_failed", of=failed.id, caller="bob")
    assert still.state is RunState.ERROR and still.follows == failed.id
    good = stack.commit("Repair facts", facts=FACTS)
    stack.live(good)
    asked = {"operation": "rerun_failed", "of": still.id, "caller": "alice"}
    plan = stack.client.plan(Request.parse(asked))
    fixed = stack.run(**asked, digest=plan["digest"])
    assert fixed.state is RunState.SUCCESS, fixed.detail
    assert [one["name"] for one in plan["nodes"]] == list(fixed.planned)
    assert {"facts", "facts_view", "totals"} <= names(fixed) and "numbers" not in names(fixed)
    why = {one["name"]: one["why"] for one in plan["nodes"]}
    assert why["facts"].startswith("failed at ") and still.id in why["facts"]
    assert "because facts did not pass" in why["totals"]
    assert stack.client.plan(Request.parse({"select": "numbers"}))["variables"] == {}
    assert plan["variables"] == {"size": 4}

    story = [one["text"] for one in stack.client.story(failed.id)]
    assert len(story) == 3
    assert f"on {failed.commit[:7]} by test failed at" in story[0] and "(facts)" in story[0]
    assert "rerun by bob" in story[1] and still.id in story[1]
    assert f"fixed by alice with {good[:7]} (run {fixed.id})" in story[2]
    assert stack.client.story(fixed.id) == stack.client.story(failed.id)

    with pytest.raises(NothingLeft, match=f"(?s)facts.* succeeded since.*{fixed.id}"):
        stack.ask(operation="rerun_failed", of=failed.id)
    with pytest.raises(NothingLeft, match="nothing of it is left"):
        stack.ask(operation="rerun_failed", of=fixed.id)
    with pytest.raises(BadVariable, match="keeps the variables"):
        stack.ask(operation="rerun_failed", of=failed.id, variables={"size": 9})
    with pytest.raises(Conflict, match="no daily build yet"):
        stack.ask(operation="rerun_failed")


def test_renamed_deleted_and_added_models_are_each_told(stack: Stack) -> None:
    failed = failed_build(stack)
    models = stack.repository / "models"
    git(stack.repository, "mv", "models/facts.sql", "models/fact_rows.sql")
    properties = (models / "steps.yml").read_text()
    (models / "steps.yml").write_text(properties.replace("name: facts\n", "name: fact_rows\n"))
    view = (models / "facts_view.sql").read_text()
    stack.live(
        stack.commit(
            "Rename facts",
            fact_rows=FACTS,
            facts_view=view.replace("'facts'", "'fact_rows'"),
            totals=None,
            counts="select count(*) as n from {{ ref('fact_rows') }}",
        )
    )
    run = stack.run(operation="rerun_failed", of=failed.id)
    assert run.state is RunState.SUCCESS, run.detail
    assert {"fact_rows", "facts_view", "counts", "unique_fact_rows_id"} == names(run) - {
        one for one in names(run) if one.startswith("accepted_values")
    }
    assert "facts was renamed to fact_rows." in run.notes
    assert "totals was deleted since: left out." in run.notes
    assert "counts was added since and reads fact_rows." in run.notes
    lines = [event.data for event in stack.client.follow(run.id, print) if event.kind == "plan"]
    why = {one["name"]: one["why"] for one in lines[0]["nodes"]}
    assert why["fact_rows"].startswith("facts, renamed since, failed at")
    assert why["counts"] == "downstream of fact_rows"


def test_after_a_failing_test_the_model_it_reads_is_built_again(stack: Stack) -> None:
    stack.live(
        stack.commit(
            "Repeat a number",
            numbers="select 1 as id, 2 as amount from generate_series(1, {{ var('size') }})",
        )
    )
    failed = stack.run(select="numbers facts apart")
    assert "unique_numbers_id" in failed.detail
    git(stack.repository, "revert", "--no-edit", "HEAD")
    stack.live(git(stack.repository, "rev-parse", "HEAD"))
    stack.run(operation="command", command="run --select facts")  # fixed in between, by itself
    plan = stack.client.plan(Request.parse({"operation": "rerun_failed", "of": failed.id}))
    why = {one["name"]: one["why"] for one in plan["nodes"]}
    assert why["numbers"].startswith("its test unique_numbers_id failed at")
    assert why["facts"] == "downstream of numbers"
    assert "apart" not in why
    assert any(text.startswith("facts has succeeded since") for text in plan["notes"])
    rerun = stack.run(operation="rerun_failed", of=failed.id)
    assert rerun.state is RunState.SUCCESS, rerun.detail
    assert set(why) == names(rerun)
    assert stack.query("select count(distinct id) from analytics.numbers") == [(3,)]


def test_a_rerun_goes_on_the_same_commit_or_a_named_one(stack: Stack) -> None:
    failed = failed_build(stack)
    stack.live(stack.commit("Repair facts", facts=FACTS))
    again = stack.run(operation="rerun_failed", of=failed.id, commit="same")
    assert again.commit == failed.commit and again.state is RunState.ERROR
    assert any("1 commit behind" in text for text in again.warnings)
    good = git(stack.repository, "rev-list", "--max-parents=0", "HEAD")
    named = stack.run(operation="rerun_failed", of=again.id, commit=good[:9])
    assert named.commit == good and named.state is RunState.SUCCESS, named.detail
    with pytest.raises(BadCommit, match="No commit or tag"):
        stack.ask(operation="rerun_failed", of=failed.id, commit="0123456")


def test_of_two_reruns_at_once_the_second_is_refused(stack: Stack) -> None:
    slow = FACTS.replace(
        "    amount\n", "    amount / (length(pg_sleep(30)::text) * 0) as amount\n"
    )
    failed = failed_build(stack)
    stack.live(stack.commit("Sleep", facts=slow))
    first = stack.ask(operation="rerun_failed", of=failed.id, caller="alice", key="once")
    assert stack.ask(operation="rerun_failed", of=failed.id, key="once").id == first.id
    with pytest.raises(Conflict, match=f"{first.id}, asked for by alice .* already"):
        stack.ask(operation="rerun_failed", of=failed.id)
    with pytest.raises(Conflict, match="is not over: "):
        stack.ask(operation="rerun_failed", of=first.id)
    stack.client.cancel(first.id, "by the test")


def test_a_rerun_asked_for_when_the_runner_died_takes_its_turn(stack: Stack) -> None:
    failed = failed_build(stack)
    stack.live(stack.commit("Repair facts", facts=FACTS))
    run = stack.ask(operation="rerun_failed", of=failed.id)
    stack.restart_runner(signal.SIGKILL)
    over = stack.over(run)
    assert over.state is RunState.SUCCESS, over.detail
    assert over.follows == failed.id
    assert {"facts", "totals"} <= names(over) and "numbers" not in names(over)
