"""Rerun from failure, on real commits: what is left runs, and what moved in between is told."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from mage_dbt.errors import BadCommit, BadVariable, Conflict, NothingLeft
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from tests.harness.models import BROKEN, FACTS, HELD, waiting
from tests.harness.repository import git
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

PROJECT = "steps"

LOCK = 4712

SLOW_TO_PARSE = """
{% for one in range(600) %}{% for other in range(90000) %}{% endfor %}{% endfor %}
select 1 as id
"""


@pytest.fixture(autouse=True)
def the_project_as_it_was(runner: Runner) -> Iterator[None]:
    """Each test begins with the models of the project's first commit."""
    models = runner.repository / "models"
    before = {one.name: one.read_text() for one in models.iterdir()}
    yield
    for one in models.iterdir():
        if one.name not in before:
            one.unlink()
    for name, text in before.items():
        (models / name).write_text(text)
    (runner.repository / "selectors.yml").unlink(missing_ok=True)
    if git(runner.repository, "status", "--porcelain"):
        runner.live(runner.commit("Back to the beginning"))


def names(run: Run) -> set[str]:
    return {one.name for one in run.nodes}


def failed_build(runner: Runner, **request: object) -> Run:
    """A build of `numbers+` whose model facts fails."""
    runner.live(runner.commit("Break facts", facts=BROKEN))
    run = runner.run(select="numbers+", **request)
    assert run.state is RunState.ERROR and "facts" in run.detail, run.detail
    return run


def test_a_failed_model_is_repaired_by_a_commit_and_the_story_tells_it(runner: Runner) -> None:
    failed = failed_build(runner, variables={"size": 4})
    still = runner.run(operation="rerun_failed", of=failed.id, caller="bob")
    assert still.state is RunState.ERROR and still.follows == failed.id
    good = runner.commit("Repair facts", facts=FACTS)
    runner.live(good)
    asked = {"operation": "rerun_failed", "of": still.id, "caller": "alice"}
    plan = runner.client.plan(Request.parse(asked)).to_json()
    fixed = runner.run(**asked, digest=plan["digest"])
    assert fixed.state is RunState.SUCCESS, fixed.detail
    assert [one["name"] for one in plan["nodes"]] == list(fixed.planned)
    assert {"facts", "facts_view", "totals"} <= names(fixed) and "numbers" not in names(fixed)
    why = {one["name"]: one["why"] for one in plan["nodes"]}
    assert why["facts"].startswith("failed at ") and still.id in why["facts"]
    assert "because facts did not pass" in why["totals"]
    assert runner.client.plan(Request.parse({"select": "numbers"})).to_json()["variables"] == {}
    assert plan["variables"] == {"size": 4}

    story = [one.text for one in runner.client.story(failed.id)]
    assert len(story) == 3
    assert f"on {failed.commit[:7]} by test failed at" in story[0] and "(facts)" in story[0]
    assert "rerun by bob" in story[1] and still.id in story[1]
    assert f"fixed by alice with {good[:7]} (run {fixed.id})" in story[2]
    assert runner.client.story(fixed.id) == runner.client.story(failed.id)

    with pytest.raises(NothingLeft, match=f"(?s)facts.* succeeded since.*{fixed.id}"):
        runner.ask(operation="rerun_failed", of=failed.id)
    with pytest.raises(NothingLeft, match="nothing of it is left"):
        runner.ask(operation="rerun_failed", of=fixed.id)
    with pytest.raises(BadVariable, match="keeps the variables"):
        runner.ask(operation="rerun_failed", of=failed.id, variables={"size": 9})
    with pytest.raises(Conflict, match="Nothing has built everything yet"):
        runner.ask(operation="rerun_failed")


def test_a_rerun_asked_for_right_after_a_push_waits_for_that_commit(runner: Runner) -> None:
    failed = failed_build(runner)
    pushed = runner.commit("Repair facts slowly", facts=FACTS, slow=SLOW_TO_PARSE)
    fixed = runner.run(operation="rerun_failed", of=failed.id)
    assert fixed.state is RunState.SUCCESS and fixed.commit == pushed, fixed.detail
    (waited,) = [text for text in fixed.notes if text.startswith("Waited ")]
    assert f'for {pushed[:7]} "Repair facts slowly", which was being made ready.' in waited


@contextmanager
def parsing_held(runner: Runner, sha: str) -> Iterator[None]:
    """dbt's process that parses this commit stands still until the block ends."""
    words = f"mage_dbt.dbt.process fork-server {runner.home.commits / sha[:12]}"

    def parses() -> psutil.Process | str:
        found = runner.processes(words)
        return found[0] if found else "nobody does"

    process = wait_until("dbt to parse", parses)
    process.suspend()
    try:
        assert runner.client.status().to_json()["preparing"] == sha
        yield
    finally:
        process.resume()


def test_a_run_that_does_not_wait_says_which_commit_it_uses_and_which_one_comes(
    runner: Runner,
) -> None:
    failed = failed_build(runner)
    pushed = runner.commit("Repair facts slowly again", facts=FACTS, slow=SLOW_TO_PARSE)
    runner.until("it to be parsed", lambda status: status["preparing"] == pushed)
    with parsing_held(runner, pushed):
        at_once = [
            runner.ask(operation="rerun_failed", of=failed.id, wait_for_commit=False),
            runner.ask(select="apart"),
        ]
    for run in map(runner.over, at_once):
        assert run.commit == failed.commit
        (told,) = [text for text in run.warnings if "is being made ready" in text]
        assert f'{pushed[:7]} "Repair facts slowly again" is newer' in told
        assert f'this run uses {failed.commit[:7]} "Break facts"' in told
    waited = runner.run(select="apart", wait_for_commit=True)
    assert waited.commit == pushed and not [one for one in waited.warnings if "newer" in one]


def test_a_rerun_that_waits_for_a_commit_that_turns_out_broken_uses_the_one_there_is(
    runner: Runner,
) -> None:
    failed = failed_build(runner)
    # dbt finds out in the end, when it has parsed all.
    pushed = runner.commit("Misspell", apart="select {{ ref('nmubers') }}", slow=SLOW_TO_PARSE)
    again = runner.run(operation="rerun_failed", of=failed.id)
    assert again.commit == failed.commit
    assert [text for text in again.notes if f'for {pushed[:7]} "Misspell", which is not' in text]
    assert [text for text in again.warnings if f"{pushed[:7]} " in text and "is broken" in text]


def test_renamed_deleted_and_added_models_are_each_told(runner: Runner) -> None:
    failed = failed_build(runner)
    models = runner.repository / "models"
    git(runner.repository, "mv", "models/facts.sql", "models/fact_rows.sql")
    properties = (models / "steps.yml").read_text()
    (models / "steps.yml").write_text(properties.replace("name: facts\n", "name: fact_rows\n"))
    view = (models / "facts_view.sql").read_text()
    runner.live(
        runner.commit(
            "Rename facts",
            fact_rows=FACTS,
            facts_view=view.replace("'facts'", "'fact_rows'"),
            totals=None,
            counts="select count(*) as n from {{ ref('fact_rows') }}",
        )
    )
    run = runner.run(operation="rerun_failed", of=failed.id)
    assert run.state is RunState.SUCCESS, run.detail
    assert {"fact_rows", "facts_view", "counts", "unique_fact_rows_id"} == names(run) - {
        one for one in names(run) if one.startswith("accepted_values")
    }
    assert "facts was renamed to fact_rows." in run.notes
    assert "totals was deleted since: left out." in run.notes
    assert "counts was added since and reads fact_rows." in run.notes
    lines = [event.data for event in runner.client.follow(run.id, print) if event.kind == "plan"]
    why = {one["name"]: one["why"] for one in lines[0]["nodes"]}
    assert why["fact_rows"].startswith("facts, renamed since, failed at")
    assert why["counts"] == "downstream of fact_rows"


def test_after_a_failing_test_the_model_it_reads_is_built_again(runner: Runner) -> None:
    runner.live(
        runner.commit(
            "Repeat a number",
            numbers="select 1 as id, 2 as amount from generate_series(1, {{ var('size') }})",
        )
    )
    failed = runner.run(select="numbers facts apart")
    assert "unique_numbers_id" in failed.detail
    git(runner.repository, "revert", "--no-edit", "HEAD")
    runner.live(git(runner.repository, "rev-parse", "HEAD"))
    runner.run(operation="command", command="run --select facts")  # fixed in between, by itself
    plan = runner.client.plan(
        Request.parse({"operation": "rerun_failed", "of": failed.id})
    ).to_json()
    why = {one["name"]: one["why"] for one in plan["nodes"]}
    assert why["numbers"].startswith("its test unique_numbers_id failed at")
    assert why["facts"] == "downstream of numbers"
    assert "apart" not in why
    assert plan["notes"] == []  # what is planned is not called left out
    rerun = runner.run(operation="rerun_failed", of=failed.id)
    assert rerun.state is RunState.SUCCESS, rerun.detail
    assert set(why) == names(rerun)
    assert runner.query("select count(distinct id) from analytics.numbers") == [(3,)]


def test_a_rerun_goes_on_the_same_commit_or_a_named_one(runner: Runner) -> None:
    failed = failed_build(runner)
    runner.live(runner.commit("Repair facts", facts=FACTS))
    again = runner.run(operation="rerun_failed", of=failed.id, commit="same")
    assert again.commit == failed.commit and again.state is RunState.ERROR
    assert any("1 commit behind" in text for text in again.warnings)
    good = git(runner.repository, "rev-list", "--max-parents=0", "HEAD")
    named = runner.run(operation="rerun_failed", of=again.id, commit=good[:9])
    assert named.commit == good and named.state is RunState.SUCCESS, named.detail
    with pytest.raises(BadCommit, match="No commit or tag"):
        runner.ask(operation="rerun_failed", of=failed.id, commit="0123456")


def test_a_run_of_a_selector_is_run_again_by_its_nodes_whatever_became_of_the_selector(
    runner: Runner,
) -> None:
    file = runner.repository / "selectors.yml"
    counts = "select count(*) as n from {{ ref('facts') }}"

    def select(value: str) -> None:
        definition = f"{{method: fqn, value: {value}, children: true}}"
        file.write_text(f"selectors:\n  - name: chosen\n    definition: {definition}\n")

    select("numbers")
    runner.live(runner.commit("Break facts, and select", facts=BROKEN))
    failed = runner.run(operation="command", command="build --selector chosen")
    assert failed.state is RunState.ERROR, failed.detail
    left = {one.name for one in failed.nodes if not one.passed}
    assert {"facts", "facts_view", "totals"} <= left and "apart" not in names(failed)
    asked = {"operation": "rerun_failed", "of": failed.id}

    # The selector as it was says whether a node that nobody has planned yet is meant.
    runner.live(runner.commit("Repair facts", facts=FACTS, counts=counts))
    plan = runner.client.plan(Request.parse(asked)).to_json()
    assert {one["name"] for one in plan["nodes"]} == {*left, "counts"}

    # One that means other nodes brings none of them, and takes none away.
    select("apart")
    runner.live(runner.commit("Select another"))
    plan = runner.client.plan(Request.parse(asked)).to_json()
    assert {one["name"] for one in plan["nodes"]} == left

    file.unlink()
    sha = runner.commit("Select nothing")
    runner.live(sha)
    fixed = runner.run(**asked)
    assert fixed.state is RunState.SUCCESS and names(fixed) == left, fixed.detail
    gone = f"The selector chosen is not at {sha[:7]}: what came since the first run is left out."
    assert gone in fixed.notes


def test_of_two_reruns_at_once_the_second_is_refused(runner: Runner) -> None:
    slow = FACTS.replace(
        "    amount\n", "    amount / (length(pg_sleep(600)::text) * 0) as amount\n"
    )
    failed = failed_build(runner)
    runner.live(runner.commit("Sleep", facts=slow))
    first = runner.ask(operation="rerun_failed", of=failed.id, caller="alice", key="once")
    assert runner.ask(operation="rerun_failed", of=failed.id, key="once").id == first.id
    with pytest.raises(Conflict, match=f"{first.id}, asked for by alice .* already"):
        runner.ask(operation="rerun_failed", of=failed.id)
    with pytest.raises(Conflict, match="is not over: "):
        runner.ask(operation="rerun_failed", of=first.id)
    runner.client.cancel(first.id, "by the test")


def test_a_rerun_asked_for_when_the_runner_died_takes_its_turn(runner: Runner) -> None:
    failed = failed_build(runner)
    runner.live(runner.commit("Wait", facts=waiting(LOCK)))
    with runner.held(LOCK):
        before = runner.ask(select="facts")
        runner.running(before, HELD)
        runner.live(runner.commit("Repair facts", facts=FACTS))
        run = runner.ask(operation="rerun_failed", of=failed.id)
        assert run.state is RunState.QUEUED
        runner.restart_runner(signal.SIGKILL)
    over = runner.over(run)
    assert over.state is RunState.SUCCESS, over.detail
    assert over.follows == failed.id
    assert {"facts", "totals"} <= names(over) and "numbers" not in names(over)
