"""Processes die at the worst moment: every run has an end, and nothing is left behind."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from mage_dbt.model.run import Run, RunState
from tests.harness.models import sleepy
from tests.harness.runner import Runner

PROJECT = "steps"
OWN_POSTGRESQL = True


def workers() -> list[str]:
    commands = (" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))
    return [one for one in commands if "mage_dbt.dbt.process run" in one]


@pytest.fixture
def sleeping(runner: Runner) -> Run:
    """A run that is in the middle: one node done, one at work for a long time, more to come."""
    runner.live(
        runner.commit(
            f"Sleep {time.monotonic()}",
            apart="select 1 as id",
            facts=f"select * from ({sleepy()}) as s join {{{{ ref('apart') }}}} using (id)",
        )
    )
    run = runner.ask(select="apart facts+")
    runner.running(run, "pg_sleep")
    return run


def test_a_killed_runner_leaves_no_worker_no_query_and_no_run_without_an_end(
    runner: Runner, sleeping: Run
) -> None:
    runner.kill("mage_dbt.server")
    runner.until_idle("pg_sleep")
    runner.answering()
    run = runner.over(sleeping)
    assert run.state is RunState.ERROR
    assert "the runner was stopped" in run.detail
    assert [one for one in workers() if run.id in one] == []
    results = {one.name: one.status for one in run.nodes}
    assert results["apart"] == "success"
    assert results["facts"] == "error"
    assert results["totals"] == "skipped"
    (cause,) = runner.client.explanation(run.id).causes
    assert cause.title == "The runner was stopped while this run was going on."
    assert cause.sentence == "The workspace was stopped before it was done."
    assert cause.nodes == () and {"facts", "totals"} <= set(cause.waiting)


def test_a_killed_worker_ends_its_run_and_says_how(runner: Runner, sleeping: Run) -> None:
    runner.kill(f"mage_dbt.dbt.process run {runner.home.runs / sleeping.id}")
    run = runner.over(sleeping)
    assert run.state is RunState.ERROR and "killed by SIGKILL" in run.detail
    runner.until_idle("pg_sleep")


def test_a_killed_postgresql_comes_back_and_the_run_has_its_end(
    runner: Runner, sleeping: Run
) -> None:
    runner.kill(str(Path("pginstall") / "bin" / "postgres"))
    run = runner.over(sleeping)
    assert run.state is RunState.ERROR
    assert {one.name for one in run.nodes} == set(run.planned)
    results = {one.name: one.status for one in run.nodes}
    assert (results["apart"], results["facts"], results["totals"]) == (
        "success",
        "error",
        "skipped",
    )


def test_a_run_asked_for_and_not_begun_takes_its_turn_after_a_restart(
    runner: Runner, sleeping: Run
) -> None:
    waiting = runner.ask(select="apart", key="waits")
    again = runner.ask(select="apart", key="waits")
    assert again.id == waiting.id
    runner.kill("mage_dbt.server")
    runner.answering()
    run = runner.over(waiting)
    assert run.state.final
    runner.over(sleeping)


def test_the_next_run_works(runner: Runner) -> None:
    runner.live(runner.commit("Wake up", facts="select 1 as id, 10 as amount"))
    run = runner.run(select="apart facts+")
    assert run.state is RunState.SUCCESS, run.detail
