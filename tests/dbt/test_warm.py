"""Runs are forked from a process that has parsed their commit, and never from a wrong one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from mage_dbt.commit import Commit
from mage_dbt.profile import Profile
from mage_dbt.run import Run, RunState
from mage_dbt.settings import CHECKOUT
from mage_dbt.worker.cold import dbt_environment
from mage_dbt.worker.parent_process import Parent, ParentGone, Task
from mage_dbt.workspace.progress import wait_for
from tests.dbt.conftest import Stack
from tests.live import command_line

PROJECT = "steps"

SLEEPY = "select 1 as id, 10 as amount, pg_sleep({seconds})::text as slept"


def how(stack: Stack, run: Run) -> str:
    """How the run's worker was started, by its record."""
    with psycopg.connect(stack.postgres.url("ledger")) as ledger:
        told = ledger.execute(
            "select data ->> 'worker' from ledger.event where run = %s and kind = 'plan'",
            [run.id],
        ).fetchall()
    return str(told[-1][0])


def parents(stack: Stack) -> list[psutil.Process]:
    words = f"dbt_process warm {stack.home.commits}"
    return [one for one in psutil.process_iter() if words in command_line(one)]


def kill_parents(stack: Stack) -> list[int]:
    found = parents(stack)
    assert found
    for one in found:
        os.kill(one.pid, signal.SIGKILL)
    for one in found:
        one.wait(30)
    return [one.pid for one in found]


def test_a_run_is_forked_and_leaves_dbts_own_results_in_its_folder(stack: Stack) -> None:
    run = stack.run()
    assert run.state is RunState.SUCCESS, run.detail
    assert how(stack, run) == "warm"
    assert (stack.home.runs / run.id / "target" / "run_results.json").is_file()


def test_another_tool_finds_the_results_and_the_manifest_beside_them(stack: Stack) -> None:
    """dbt itself is that tool. The manifest takes no room: all runs of a commit have one file."""
    model = "{{ config(alias=var('called', 'by_default')) }} select 1 as id"
    live = stack.live(stack.commit("A name for the manifest", apart=model))["live"]
    runs = [stack.run(select="apart"), stack.run(select="apart")]
    folders = [stack.home.runs / run.id / "target" for run in runs]
    one, other = ((folder / "manifest.json").stat() for folder in folders)
    assert one.st_ino == other.st_ino
    assert one.st_ino in {
        path.stat().st_ino
        for path in stack.home.commits.glob(f"{live['sha'][:12]}-*/target/manifest.json")
    }
    assert aliases(folders[0]) == {"by_default"}
    variable = stack.run(select="apart", variables={"called": "as_given"})
    assert how(stack, variable) == "warm"
    folder = stack.home.runs / variable.id / "target"
    assert aliases(folder) == {"as_given"}
    assert aliases(folders[0]) == {"by_default"}
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("dbt")), "--quiet", "ls"),
            *("--select", "result:success", "--state", str(folder)),
            *("--vars", json.dumps({"called": "as_given"})),
            *("--project-dir", str(stack.repository), "--target-path", str(folder.parent / "ls")),
            *("--profiles-dir", str(CHECKOUT / "dbt" / "profiles"), "--profile", "embedded"),
            *("--log-path", str(folder.parent / "ls")),
        ],
        env=dbt_environment({**os.environ, **stack.postgres.warehouse_environment()}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["steps.apart"], done.stdout + done.stderr


def aliases(target: Path) -> set[str]:
    """What the manifest in a run's target folder calls the model `apart`."""
    nodes = json.loads((target / "manifest.json").read_text())["nodes"]
    return {node["alias"] for name, node in nodes.items() if name == "model.steps.apart"}


def test_a_variable_read_while_parsing_reaches_a_parent_that_parsed_with_it(stack: Stack) -> None:
    model = "{{ config(alias=var('called', 'by_default')) }} select 1 as id"
    stack.live(stack.commit("A name that is a variable", apart=model))
    for variables, table in (({}, "by_default"), ({"called": "another"}, "another")):
        for _ in range(2):
            run = stack.run(select="apart", variables=variables)
            assert run.state is RunState.SUCCESS, run.detail
            assert how(stack, run) == "warm"
            [node] = [one for one in run.nodes if one.type == "model"]
            assert node.relation.endswith(f'"{table}"')
            assert stack.query("select to_regclass(%s)::text", f"analytics.{table}") != [(None,)]


def test_a_killed_parent_is_replaced_and_the_runs_go_on(stack: Stack) -> None:
    stack.live(stack.commit("Begin anew", apart="select 1 as id"))
    killed = kill_parents(stack)
    run = stack.run(select="apart")
    assert run.state is RunState.SUCCESS, run.detail
    assert how(stack, run) == "warm" or "dbt was started anew" in " ".join(run.warnings)

    def replaced() -> bool | str:
        now = [one.pid for one in parents(stack)]
        return (bool(now) and not set(now) & set(killed)) or f"{now} are there"

    wait_for("another parent", replaced, 30, stack.progress)
    again = stack.run(select="apart")
    assert again.state is RunState.SUCCESS and how(stack, again) == "warm"


def test_a_run_outlives_its_parent_and_can_be_cancelled(stack: Stack) -> None:
    stack.live(stack.commit(f"Sleep {time.monotonic()}", apart=SLEEPY.format(seconds=60)))
    run = stack.ask(select="apart")
    stack.running(run, "pg_sleep")
    kill_parents(stack)
    assert stack.at_work("pg_sleep")
    began = time.monotonic()
    stack.client.cancel(run.id, "the test")
    assert time.monotonic() - began < 10
    assert stack.over(run).state is RunState.CANCELLED
    assert not stack.at_work("pg_sleep")


def test_a_parent_that_cannot_be_understood_is_ended_and_says_so(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.postgres.warehouse_environment().items():
        monkeypatch.setenv(name, value)
    live = stack.client.status()["live"]["sha"][:12]
    [ready] = stack.home.commits.glob(f"{live}-*/ready.json")
    arguments = [
        *("--project-dir", str(Commit.read(ready.parent).project)),
        *Profile.of(stack.settings, stack.home).arguments(),
        *("--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path)),
    ]
    parent = Parent(Task(tuple(arguments), {}), dbt_environment(os.environ), tmp_path, "a test's")
    assert not parent.told.result(60)["failed"]

    def not_understood(_: Parent) -> bool:
        raise IndexError("a message without a descriptor")

    monkeypatch.setattr(Parent, "_hear_one", not_understood)
    with pytest.raises(ParentGone, match="it ended"):
        parent.fork(tmp_path, [2, 2, 2])
    with pytest.raises(ParentGone, match="it ended"):
        parent.fork(tmp_path, [2, 2, 2])
    assert parent.children == 0 and not psutil.pid_exists(parent.pid)
