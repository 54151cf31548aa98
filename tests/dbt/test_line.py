"""The line with real runs: two runners on one warehouse, a bounded queue, and who does what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from mage_dbt import processes
from mage_dbt.client import RunnerClient
from mage_dbt.errors import QueueFull, Unavailable
from mage_dbt.home import Home
from mage_dbt.request import Request
from mage_dbt.run import Run, RunState
from mage_dbt.settings import Settings
from mage_dbt.workspace import programs
from mage_dbt.workspace.programs import Databases
from mage_dbt.workspace.progress import wait_for
from mage_dbt.workspace.secret_files import read_or_make
from tests.dbt.conftest import Stack
from tests.live import free_ports

PROJECT = "steps"

ANSWER_SECONDS = 90.0


def sleepy(name: str, seconds: int) -> str:
    return f"select 1 as id, 10 as amount, pg_sleep({seconds})::text as {name}"


def on_ledger(stack: Stack, sql: str, *values: Any) -> list[Any]:
    with psycopg.connect(stack.postgres.url("ledger"), autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


@dataclass
class SecondRunner:
    """A runner of another home on the stack's databases, which nothing restarts."""

    process: subprocess.Popen[bytes]
    client: RunnerClient

    def ask(self, **request: Any) -> Run:
        return self.client.submit(Request.parse({"cause": "tool", "caller": "second", **request}))


def start_second(stack: Stack, folder: Path, **environ: str) -> SecondRunner:
    settings = Settings.load(
        stack.settings.as_environment()
        | {
            "WORKSPACE_HOME": str(folder),
            "RUNNER_PORT": str(free_ports(1)[0]),
            "DBT_METRIC_DIR": str(stack.home.sync),
            **environ,
        },
        folder / "no.env",
    )
    settings = replace(settings, dbt_metric_repo=None)
    home = Home(folder)
    home.logs.mkdir(parents=True)
    read_or_make(home.api_token)
    postgres = stack.postgres
    databases = Databases("", postgres.url("runner"), postgres.warehouse_environment())
    program = programs.runner(settings, home, databases)
    with (home.logs / "runner.log").open("wb") as log:
        process = subprocess.Popen(
            program.order.command,
            cwd=program.order.directory,
            env=dict(program.environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    second = SecondRunner(process, RunnerClient(home.runner_socket))

    def answers() -> bool | str:
        assert process.poll() is None, (home.logs / "runner.log").read_text()
        try:
            return bool(second.client.status()["live"]) or "no live commit"
        except Unavailable as error:
            return str(error)

    wait_for("the second runner to answer", answers, ANSWER_SECONDS, stack.progress)
    return second


@pytest.fixture
def old_run(stack: Stack) -> str:
    """A run that was over 800 days ago, as the ledger's owner can write it and nobody else."""
    on_ledger(
        stack,
        "insert into ledger.run select 'old', now() - interval '800 days', 'an old key',"
        " 'build', 'tool', 'kim', '', '{}', 'c', 's', 'prod', '1', null, null, null, 0",
    )
    on_ledger(
        stack,
        "insert into ledger.event (run, at, kind, data)"
        " values ('old', now() - interval '800 days', 'state', '{\"state\": \"Success\"}')",
    )
    return "old"


@pytest.fixture
def second(stack: Stack, tmp_path: Path) -> Iterator[SecondRunner]:
    made = start_second(
        stack, tmp_path / "second", RUNNER_PARALLEL_RUNS="1", RUNNER_QUEUED_RUNS="1"
    )
    yield made
    made.process.terminate()
    made.process.wait(30)


def detail(stack: Stack, run: Run, words: str) -> str:
    def probe() -> list[str] | str:
        now = stack.client.run(run.id)
        return [now.detail] if words in now.detail else f"{now.state} {now.detail}"

    return wait_for(f"run {run.id} to say {words!r}", probe, ANSWER_SECONDS, stack.progress)[0]


def test_pg_stat_activity_names_the_run_and_its_caller(stack: Stack) -> None:
    stack.live(stack.commit("Sleep", apart=sleepy("slept", 60)))
    run = stack.ask(select="apart", caller="Ren\u00e9 O'Neil */ select 1; -- \u20ac")
    stack.running(run, "pg_sleep")
    [(name, query)] = stack.query(
        "select application_name, query from pg_stat_activity where state = 'active'"
        " and query like '%%pg_sleep%%' and pid <> pg_backend_pid()"
    )
    assert name.startswith(f"mage-dbt {run.id} Rene O_Neil _ select")
    comment = json.loads(query[query.index("/*") + 2 : query.index("*/")])
    assert comment["app"] == "dbt" and comment["node_id"] == "model.steps.apart"
    assert comment["run"] == run.id
    assert comment["caller"].startswith("Rene O_Neil _ select 1_ --")
    others = stack.query(
        "select application_name from pg_stat_activity where datname = current_database()"
        " and usename = 'dbt' and pid <> pg_backend_pid()"
    )
    assert {one for (one,) in others} == {name}
    log = (stack.home.runs / run.id / "logs" / "dbt.log").read_text()
    assert "Unable to do partial parsing" not in log
    stack.client.cancel(run.id, "the test")


def test_the_reason_is_in_the_ledger_and_tests_wait_for_the_model_they_read(stack: Stack) -> None:
    stack.live(stack.commit("Sleep on", facts=sleepy("slept", 60)))
    slow = stack.ask(select="facts", caller="alice")
    stack.running(slow, "pg_sleep")
    tests = stack.ask(operation="command", command="test --select facts", caller="bob")
    said = detail(stack, tests, "waiting for facts")
    assert "held by build facts since" in said and said.endswith("started by alice")
    behind = stack.ask(operation="full_refresh", select="facts", caller="carol")
    detail(stack, behind, "waiting for facts, held by build facts")
    stack.client.cancel(slow.id, "the test")
    assert stack.over(tests).state is not RunState.CANCELLED
    for run in (behind,):
        stack.client.cancel(run.id, "the test")
    stack.live(stack.commit("Wake up", facts="select 1 as id, 10 as amount"))


def test_a_second_runner_waits_for_the_firsts_run_and_its_queue_is_bounded(
    stack: Stack, second: SecondRunner
) -> None:
    stack.live(
        stack.commit("Sleep", apart=sleepy("slept", 40), facts="select 1 as id, 10 as amount")
    )
    first = stack.ask(select="apart", caller="alice")
    stack.running(first, "pg_sleep")
    waiting = second.ask(select="apart", key="waits")
    detail(stack, waiting, "waiting for apart, held by build apart")
    with pytest.raises(QueueFull, match="1 runs wait already"):
        second.ask(select="numbers")
    assert second.ask(select="apart", key="waits").id == waiting.id
    second.client.cancel(waiting.id, "the test")
    stack.client.cancel(first.id, "the test")
    assert stack.over(waiting).state is RunState.CANCELLED


def test_a_runner_forgets_what_is_older_than_the_setting(
    stack: Stack, old_run: str, second: SecondRunner
) -> None:
    def forgotten() -> bool | str:
        left = on_ledger(stack, "select id, asked_at from ledger.run where id = %s", old_run)
        return not left or str(left)

    wait_for("the old run to be forgotten", forgotten, 20, stack.progress)


def test_a_living_runner_ends_what_a_killed_one_left(stack: Stack, second: SecondRunner) -> None:
    stack.live(
        stack.commit("Sleep again", apart=sleepy("slept", 60), facts="select 1 as id, 10 as amount")
    )
    wait_for(
        "the second runner to have the commit",
        lambda: (
            second.client.status()["live"]["sha"] == stack.client.status()["live"]["sha"] or "no"
        ),
        ANSWER_SECONDS,
        stack.progress,
    )
    left = second.ask(select="apart")
    stack.running(left, "pg_sleep")
    queued = second.ask(select="numbers")
    detail(stack, queued, "RUNNER_PARALLEL_RUNS")
    mine = stack.ask(select="apart", caller="alice")
    detail(stack, mine, "waiting for apart, held by build apart")
    [worker] = [
        one
        for one in psutil.process_iter(["cmdline"])
        if "dbt_process" in str(one.info["cmdline"]) and left.id in str(one.info["cmdline"])
    ]
    os.kill(second.process.pid, signal.SIGKILL)
    killed = time.monotonic()
    ended = stack.over(left)
    assert ended.state is RunState.ERROR
    assert "the runner was stopped" in ended.detail.lower()
    assert processes.ended(worker)
    stack.running(mine, "pg_sleep")
    assert time.monotonic() - killed < 60
    stack.client.cancel(mine.id, "the test")
    assert stack.over(queued).state is RunState.SUCCESS
    finals = on_ledger(
        stack,
        "select run, count(*) from ledger.event where kind = 'state'"
        " and data ->> 'state' in ('Success', 'Error', 'Cancelled') group by 1 having count(*) > 1",
    )
    assert finals == []

    def empty() -> bool | str:
        left = on_ledger(stack, "select run, began_at from line.place")
        return not left or str(left)

    wait_for("the line to be empty", empty, 20, stack.progress)
    locks = on_ledger(stack, "select objid from pg_locks where locktype = 'advisory'")
    assert len(locks) == 1, "the living runner's own, and no other"


def test_a_run_is_cancelled_at_whichever_runner_one_asks(
    stack: Stack, second: SecondRunner
) -> None:
    stack.live(
        stack.commit("Sleep long", apart=sleepy("slept", 60), facts="select 1 as id, 10 as amount")
    )
    run = stack.ask(select="apart", caller="alice")
    stack.running(run, "pg_sleep")
    asked = time.monotonic()
    assert second.client.cancel(run.id, "bob at the other one").state is RunState.CANCELLED
    assert time.monotonic() - asked < 10
    assert stack.at_work("pg_sleep") == []
    assert "bob at the other one" in stack.client.run(run.id).detail


def test_two_runners_take_requests_and_one_that_is_killed_loses_none(
    stack: Stack, tmp_path: Path
) -> None:
    stack.live(
        stack.commit(
            "Sleep a little",
            apart=sleepy("slept", 3),
            numbers="select n as id, n * 10 as amount from generate_series(1, 3) as n",
            facts="select 1 as id, 10 as amount",
        )
    )
    second = start_second(stack, tmp_path / "second", RUNNER_PARALLEL_RUNS="2")
    keys = [f"both {number}" for number in range(6)]
    models = ("apart", "numbers", "facts")
    asked = {}
    for number, key in enumerate(keys):
        request = {"select": models[number % 3], "key": key}
        first, other = (stack, second) if number % 2 else (second, stack)
        asked[key] = first.ask(**request).id
        # The same key at the other runner is the same run.
        assert other.ask(**{**request, "caller": "whoever"}).id == asked[key]
    os.kill(second.process.pid, signal.SIGKILL)
    second.process.wait()
    runs = [stack.over(stack.client.run(one)) for one in asked.values()]
    for run in runs:
        stopped = "the runner was stopped" in run.detail.lower()
        assert run.state is RunState.SUCCESS or stopped, run.detail
    assert stack.ask(select="apart", key=keys[0]).id == asked[keys[0]], "a killed runner's key too"
    again = stack.run(select="apart numbers facts")
    assert again.state is RunState.SUCCESS, again.detail
    finals = on_ledger(
        stack,
        "select run from ledger.event where kind = 'state'"
        " and data ->> 'state' in ('Success', 'Error', 'Cancelled') group by 1 having count(*) > 1",
    )
    assert finals == []
    left = stack.query("select relname from pg_class where relname ~ '__dbt_(backup|tmp)'")
    assert left == []
