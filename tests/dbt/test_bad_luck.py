"""Processes die at the worst moment: every run has an end, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mage_dbt.errors import Unavailable
from mage_dbt.run import Run, RunState
from mage_dbt.workspace.progress import wait_for
from tests.dbt.conftest import Stack

PROJECT = "steps"

SLEEPY = "select 1 as id, 10 as amount, pg_sleep({seconds})::text as slept"


def kill(stack: Stack, words: str) -> None:
    """kill -9 of the one process of this stack whose command line holds `words`."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        command = " ".join(process.info["cmdline"] or ())
        mine = str(stack.home.root) in f"{command} {process.info['environ']}"
        if mine and words in command and "keeper" not in command:
            os.kill(process.pid, signal.SIGKILL)
            return
    raise AssertionError(f"no process runs {words}")


def answering(stack: Stack) -> dict[str, Any]:
    def probe() -> dict[str, Any] | str:
        try:
            status = stack.client.status()
        except Unavailable as error:
            return str(error)
        return status if status["live"] else "no live commit"

    return wait_for("the runner to answer again", probe, 90, stack.progress)


def final(stack: Stack, run: Run) -> Run:
    def probe() -> Run | str:
        try:
            now = stack.client.run(run.id)
        except Unavailable as error:
            return str(error)
        return now if now.state.final else f"{now.state} {now.detail}"

    return wait_for(f"run {run.id} to have an end", probe, 120, stack.progress)


def workers() -> list[str]:
    commands = (" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))
    return [one for one in commands if "dbt_process run" in one]


@pytest.fixture
def sleeping(stack: Stack) -> Run:
    """A run that is in the middle: one node done, one at work for a long time, more to come."""
    text = SLEEPY.format(seconds=60)
    stack.live(
        stack.commit(
            f"Sleep {time.monotonic()}",
            apart="select 1 as id",
            facts="select * from (" + text + ") as s join {{ ref('apart') }} using (id)",
        )
    )
    run = stack.ask(select="apart facts+")
    stack.running(run, "pg_sleep")
    return run


def test_a_killed_runner_leaves_no_worker_no_query_and_no_run_without_an_end(
    stack: Stack, sleeping: Run
) -> None:
    kill(stack, "mage_dbt.runner")
    wait_for(
        "the query to be gone",
        lambda: not stack.at_work("pg_sleep") or "it is there",
        10,
        stack.progress,
    )
    answering(stack)
    run = final(stack, sleeping)
    assert run.state is RunState.ERROR
    assert "the runner was stopped" in run.detail
    assert [one for one in workers() if run.id in one] == []
    results = {one.name: one.status for one in run.nodes}
    assert results["apart"] == "success"
    assert results["facts"] == "error"
    assert results["totals"] == "skipped"


def test_a_killed_worker_ends_its_run_and_says_how(stack: Stack, sleeping: Run) -> None:
    kill(stack, f"dbt_process run {stack.home.runs / sleeping.id}")
    run = final(stack, sleeping)
    assert run.state is RunState.ERROR and "killed by SIGKILL" in run.detail
    wait_for(
        "the query to be gone",
        lambda: not stack.at_work("pg_sleep") or "it is there",
        10,
        stack.progress,
    )


def test_a_killed_postgresql_comes_back_and_the_run_has_its_end(
    stack: Stack, sleeping: Run
) -> None:
    kill(stack, str(Path("pginstall") / "bin" / "postgres"))
    run = final(stack, sleeping)
    assert run.state is RunState.ERROR
    assert {one.name for one in run.nodes} == set(run.planned)
    results = {one.name: one.status for one in run.nodes}
    assert (results["apart"], results["facts"], results["totals"]) == (
        "success",
        "error",
        "skipped",
    )


def test_a_run_asked_for_and_not_begun_takes_its_turn_after_a_restart(
    stack: Stack, sleeping: Run
) -> None:
    waiting = stack.ask(select="apart", key="waits")
    again = stack.ask(select="apart", key="waits")
    assert again.id == waiting.id
    kill(stack, "mage_dbt.runner")
    answering(stack)
    run = final(stack, waiting)
    assert run.state.final
    final(stack, sleeping)


def test_the_next_run_works(stack: Stack) -> None:
    stack.live(stack.commit("Wake up", facts="select 1 as id, 10 as amount"))
    run = stack.run(select="apart facts+")
    assert run.state is RunState.SUCCESS, run.detail
