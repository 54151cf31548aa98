"""Runs of a small project: what is planned is what runs, and the truth is told of each node."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mage_dbt.errors import Conflict, NotFound, RequestError
from mage_dbt.model.request import Request
from mage_dbt.model.run import NodeResult, Run, RunState
from tests.harness.models import HELD, sleepy, waiting
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

PROJECT = "steps"

LOCK = 4711


@pytest.fixture(autouse=True)
def the_project_as_it_was(runner: Runner) -> Iterator[None]:
    """Each test begins and ends with the project's first commit's models."""
    before = {one.stem: one.read_text() for one in (runner.repository / "models").glob("*.sql")}
    yield
    now = {one.stem: one.read_text() for one in (runner.repository / "models").glob("*.sql")}
    if now != before:
        removed: dict[str, str | None] = {name: None for name in now if name not in before}
        runner.live(runner.commit("Back to the beginning", **removed, **before))


def node(run: Run, name: str) -> NodeResult:
    found = {one.name: one for one in run.nodes}
    assert name in found, f"{name} is not among {list(found)}"
    return found[name]


def test_a_full_build_is_green_and_its_rows_are_in_the_warehouse(runner: Runner) -> None:
    run = runner.run(why="first of all")
    assert run.state is RunState.SUCCESS, run.detail
    assert [one.name for one in run.nodes if not one.passed] == []
    assert {one.name for one in run.nodes} == set(run.planned)
    assert node(run, "facts").rows == 3
    assert runner.query("select total from analytics.totals") == [(60,)]
    assert run.why == "first of all" and run.dbt_version and run.target == "prod"


def test_a_warning_is_shown_and_counted_and_does_not_fail(runner: Runner) -> None:
    run = runner.run(select="facts")
    assert run.state is RunState.SUCCESS
    assert run.counts()["warn"] == 1
    warned = next(one for one in run.nodes if one.status == "warn")
    assert "Got 1 result" in warned.message


def test_the_plan_is_the_list_that_runs(runner: Runner) -> None:
    plan = runner.client.plan(Request.parse({"select": "facts+"})).to_json()
    run = runner.run(select="facts+")
    assert [one["name"] for one in plan["nodes"]] == list(run.planned)
    assert sorted(run.planned) == sorted(one.name for one in run.nodes)
    order = list(run.planned)
    assert order.index("facts") < order.index("facts_view")


def test_a_broken_model_fails_the_run_and_names_who_was_skipped_for_it(runner: Runner) -> None:
    runner.live(runner.commit("Break facts", facts="select id / 0 as id from {{ ref('numbers') }}"))
    run = runner.run()
    assert run.state is RunState.ERROR
    assert "facts" in run.detail
    assert node(run, "facts").status == "error"
    assert "division by zero" in node(run, "facts").message
    for name in ("facts_view", "totals"):
        assert node(run, name).status == "skipped"
        assert node(run, name).because == "facts"
    assert node(run, "apart").status == "success"


def test_a_failing_test_fails_the_run_and_skips_what_follows_because_of_it(runner: Runner) -> None:
    runner.live(
        runner.commit(
            "Repeat a number",
            numbers="select 1 as id, 2 as amount from generate_series(1, {{ var('size') }})",
        )
    )
    run = runner.run(select="numbers+")
    assert run.state is RunState.ERROR
    assert node(run, "unique_numbers_id").status == "fail"
    assert node(run, "numbers").status == "success"
    assert node(run, "facts").status == "skipped"
    assert node(run, "facts").because == "unique_numbers_id"


def test_a_rerun_runs_what_failed_and_was_skipped_and_nothing_else(runner: Runner) -> None:
    good = (runner.repository / "models" / "facts.sql").read_text()
    runner.live(runner.commit("Break facts", facts="select id / 0 as id from {{ ref('numbers') }}"))
    failed = runner.run()
    runner.live(runner.commit("Repair facts", facts=good))
    rerun = runner.run(operation="rerun_failed", of=failed.id)
    assert rerun.state is RunState.SUCCESS, rerun.detail
    assert rerun.follows == failed.id
    ran = {one.name for one in rerun.nodes}
    assert {"facts", "facts_view", "totals"} <= ran
    assert not ran & {"numbers", "apart"}
    with pytest.raises(Conflict, match="nothing of it is left"):
        runner.ask(operation="rerun_failed", of=rerun.id)


def test_variables_reach_dbt_and_one_that_nothing_reads_is_said(runner: Runner) -> None:
    run = runner.run(select="numbers", variables={"size": 5})
    assert run.state is RunState.SUCCESS, run.detail
    assert node(run, "numbers").rows == 5
    run = runner.run(select="numbers", variables={"sise": 5})
    assert run.state is RunState.SUCCESS and node(run, "numbers").rows == 3
    assert any('seems to read "sise". Did you mean size' in text for text in run.warnings)


def test_an_unknown_model_fails_and_suggests_the_nearest(runner: Runner) -> None:
    run = runner.run(select="numbers fact_view")
    assert run.state is RunState.ERROR
    assert 'No model "fact_view"' in run.detail and "Did you mean facts_view" in run.detail
    assert run.nodes == ()


def test_an_empty_selection_fails(runner: Runner) -> None:
    run = runner.run(select="numbers,apart")
    assert run.state is RunState.ERROR
    assert "is in all of: numbers, apart." in run.detail


def test_a_full_refresh_in_place_rebuilds_all_rows_and_says_what_it_drops(runner: Runner) -> None:
    runner.run(select="facts+")
    with_facts = runner.client.plan(
        Request.parse({"operation": "full_refresh", "select": "facts", "in_place": True})
    ).to_json()
    assert any("analytics_reporting.facts_view" in text for text in with_facts["warnings"])
    whole = {"operation": "full_refresh", "select": "facts+", "in_place": True}
    with_all = Request.parse(whole)
    assert runner.client.plan(with_all).to_json()["warnings"] == []
    runner.query("insert into analytics.facts values (99, 1) returning id")
    run = runner.run(**whole)
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.query("select id from analytics_reporting.facts_view where id = 99") == []


def test_a_dbt_command_runs_as_typed(runner: Runner) -> None:
    run = runner.run(operation="command", command="test --select numbers")
    assert run.state is RunState.SUCCESS, run.detail
    assert {one.type for one in run.nodes} == {"test"}


def test_fifty_requests_with_one_key_are_one_run(runner: Runner) -> None:
    with ThreadPoolExecutor(10) as pool:
        asked = list(pool.map(lambda _: runner.ask(select="apart", key="fifty"), range(50)))
    assert len({one.id for one in asked}) == 1
    assert runner.over(asked[0]).state is RunState.SUCCESS


def test_two_full_builds_at_once_both_pass_the_second_after_the_first(runner: Runner) -> None:
    runner.publish("Wait", numbers=f"select * from ({waiting(LOCK)}) as held")
    with runner.held(LOCK):
        first = runner.ask()
        runner.running(first, HELD)
        second = runner.ask()

        def waits() -> bool | str:
            now = runner.client.run(second.id)
            return "held by build of everything since" in now.detail or f"{now.state} {now.detail}"

        wait_until("the second to wait for the first", waits)
    first, second = runner.over(first), runner.over(second)
    assert (first.state, second.state) == (RunState.SUCCESS, RunState.SUCCESS)
    times = [(one.started_at, one.finished_at) for one in (first, second)]
    begun = [begin for begin, _ in times if begin]
    ended = [end for _, end in times if end]
    assert max(begun) >= min(ended)
    states = [
        event.data["detail"]
        for one in (first, second)
        for event in runner.client.follow(one.id, print)
        if event.kind == "state" and event.data.get("detail")
    ]
    assert any("held by build of everything since" in text for text in states), states


def test_a_cancelled_run_stops_its_sql(runner: Runner) -> None:
    runner.live(runner.commit("Sleep", apart=sleepy()))
    run = runner.ask(select="apart")
    runner.running(run, "pg_sleep")
    cancelled = runner.client.cancel(run.id, "by the test")
    assert cancelled.state is RunState.CANCELLED
    assert runner.at_work("pg_sleep") == []
    apart = node(runner.client.run(run.id), "apart")
    assert (apart.status, apart.sqlstate) == ("error", "")
    assert apart.message.startswith("cancelled by the test\n\n"), apart.message
    (cause,) = runner.client.explanation(run.id).causes
    assert (cause.failure_class, cause.nodes, cause.waiting) == ("stopped", (), ("apart",))
    assert cause.title == "Cancelled by the test." and cause.sentence == "the test stopped it."
    events = list(runner.client.follow(run.id, print))
    assert events[-1].data["detail"] == "Cancelled by the test."
    (story,) = [one.text for one in runner.client.story(run.id)]
    assert " was cancelled at " in story and story.endswith(" by the test")
    with pytest.raises(Conflict, match="is over: Cancelled"):
        runner.client.cancel(run.id, "again")


def test_a_daily_build_is_nobodys_who_only_says_so(runner: Runner) -> None:
    said = {"caller": "Mage, trigger Every morning", "mage_run": 7, "select": "apart"}
    for number, cause in enumerate(("schedule", "start")):
        request = Request.parse({**said, "cause": cause, "key": f"mage:{number}"})
        for ticket in ("", "0" * 64):
            run = runner.over(runner.client.submit(request, ticket))
            assert (run.cause, run.morning) == ("form", None)
            assert list(run.planned) == ["apart"] and run.state is RunState.SUCCESS
        # A part of the project is no daily build, whoever asks for it.
        run = runner.run(**{**said, "cause": cause, "key": f"mage:part {number}"})
        assert (run.cause, run.morning) == (cause, None) and list(run.planned) == ["apart"]


def test_the_daily_builds_keys_are_the_runners_alone(runner: Runner) -> None:
    before = runner.client.runs(limit=500)
    for cause in ("schedule", "start", "form", "tool", "api"):
        with pytest.raises(RequestError, match="keys that begin 'daily:' are the runner's own"):
            runner.ask(cause=cause, key="daily:2126-11-24")
    assert runner.client.runs(limit=500) == before


def test_an_unknown_run_is_not_found(runner: Runner) -> None:
    with pytest.raises(NotFound, match="No run"):
        runner.client.run("20260101-000000-000000")
