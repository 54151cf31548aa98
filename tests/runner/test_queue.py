"""The queue with real runs: two runners on one warehouse, and a bound on what waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from mage_dbt.base import processes
from mage_dbt.base.secret_files import read_or_make
from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import QueueFull, Unavailable
from mage_dbt.home import Home
from mage_dbt.launcher import programs
from mage_dbt.launcher.database_roles import SUPERUSER
from mage_dbt.launcher.programs import Databases
from mage_dbt.model.failure import FailureClass
from mage_dbt.model.request import Request
from mage_dbt.model.run import TAKEN_OVER, Run, RunState
from mage_dbt.settings import Settings
from tests.harness.models import sleepy
from tests.harness.ports import free_ports
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

PROJECT = "steps"


@dataclass
class SecondRunner:
    """A runner of another home on the first runner's databases, which nothing restarts."""

    process: subprocess.Popen[bytes]
    client: RunnerClient

    def ask(self, **request: Any) -> Run:
        return self.client.submit(Request.parse({"cause": "tool", "caller": "second", **request}))


def start_second(runner: Runner, folder: Path, **environ: str) -> SecondRunner:
    settings = Settings.load(
        runner.settings.as_environment()
        | {
            "WORKSPACE_HOME": str(folder),
            "RUNNER_PORT": str(free_ports(1)[0]),
            "DBT_METRIC_DIR": str(runner.home.sync),
            **environ,
        },
        folder / "no.env",
    )
    settings = replace(settings, dbt_metric_repo=None)
    home = Home(folder)
    home.logs.mkdir(parents=True)
    read_or_make(home.api_token)
    postgres = runner.postgres
    databases = Databases("", postgres.url("runner"), postgres.warehouse_environment())
    program = programs.runner(settings, home, databases)
    with (home.logs / "runner.log").open("wb") as log:
        process = subprocess.Popen(
            program.launch.command,
            cwd=program.launch.directory,
            env=dict(program.environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    second = SecondRunner(process, RunnerClient(home.runner_socket))

    def answers() -> bool | str:
        assert process.poll() is None, (home.logs / "runner.log").read_text()
        try:
            return bool(second.client.status().to_json()["live"]) or "no live commit"
        except Unavailable as error:
            return str(error)

    wait_until("the second runner to answer", answers)
    return second


@pytest.fixture
def old_run(runner: Runner) -> str:
    """A run that was over 800 days ago, as the ledger's owner can write it and nobody else."""
    runner.rows(  # in one transaction: without its end it would be begun again
        "ledger",
        "insert into ledger.run select 'old', now() - interval '800 days', 'an old key',"
        " 'build', 'tool', 'kim', '', '{}', 'c', 's', 'prod', '1', null, null, null, 0;"
        "insert into ledger.event (run, at, kind, data)"
        " values ('old', now() - interval '800 days', 'state', '{\"state\": \"Success\"}')",
    )
    return "old"


@pytest.fixture
def second(runner: Runner, tmp_path: Path) -> Iterator[SecondRunner]:
    made = start_second(
        runner, tmp_path / "second", RUNNER_PARALLEL_RUNS="1", RUNNER_QUEUED_RUNS="1"
    )
    yield made
    made.process.terminate()
    made.process.wait(SECONDS)


def detail(runner: Runner, run: Run, words: str) -> str:
    def probe() -> list[str] | str:
        now = runner.client.run(run.id)
        return [now.detail] if words in now.detail else f"{now.state} {now.detail}"

    return wait_until(f"run {run.id} to say {words!r}", probe)[0]


def test_pg_stat_activity_names_the_run_and_its_caller(runner: Runner) -> None:
    runner.live(runner.commit("Sleep", apart=sleepy()))
    run = runner.ask(select="apart", caller="Ren\u00e9 O'Neil */ select 1; -- \u20ac")
    runner.running(run, "pg_sleep")
    [(name, query)] = runner.query(
        "select application_name, query from pg_stat_activity where state = 'active'"
        " and query like '%%pg_sleep%%' and pid <> pg_backend_pid()"
    )
    assert name.startswith(f"mage-dbt {run.id} Rene O_Neil _ select")
    comment = json.loads(query[query.index("/*") + 2 : query.index("*/")])
    assert comment["app"] == "dbt" and comment["node_id"] == "model.steps.apart"
    assert comment["run"] == run.id
    assert comment["caller"].startswith("Rene O_Neil _ select 1_ --")

    def named() -> bool | str:  # beside it, a survey of the commit may look at the tables
        others = runner.query(
            "select application_name from pg_stat_activity where datname = current_database()"
            " and usename = 'dbt' and pid <> pg_backend_pid()"
        )
        return {one for (one,) in others} == {name} or str(others)

    wait_until("every session to have the name", named)
    log = (runner.home.runs / run.id / "logs" / "dbt.log").read_text()
    assert "Unable to do partial parsing" not in log
    runner.client.cancel(run.id, "the test")


def test_the_reason_is_in_the_ledger_and_tests_wait_for_the_model_they_read(runner: Runner) -> None:
    runner.live(runner.commit("Sleep on", facts=sleepy()))
    slow = runner.ask(select="facts", caller="alice")
    runner.running(slow, "pg_sleep")
    tests = runner.ask(operation="command", command="test --select facts", caller="bob")
    said = detail(runner, tests, "waiting for facts")
    assert "held by build facts since" in said and said.endswith("started by alice")
    behind = runner.ask(operation="full_refresh", select="facts", caller="carol")
    detail(runner, behind, "waiting for facts, held by build facts")
    runner.client.cancel(slow.id, "the test")
    assert runner.over(tests).state is not RunState.CANCELLED
    for run in (behind,):
        runner.client.cancel(run.id, "the test")
    runner.live(runner.commit("Wake up", facts="select 1 as id, 10 as amount"))


def test_a_second_runner_waits_for_the_firsts_run_and_its_queue_is_bounded(
    runner: Runner, second: SecondRunner
) -> None:
    runner.live(runner.commit("Sleep", apart=sleepy(), facts="select 1 as id, 10 as amount"))
    first = runner.ask(select="apart", caller="alice")
    runner.running(first, "pg_sleep")
    waiting = second.ask(select="apart", key="waits")
    detail(runner, waiting, "waiting for apart, held by build apart")
    with pytest.raises(QueueFull, match="1 runs wait already"):
        second.ask(select="numbers")
    assert second.ask(select="apart", key="waits").id == waiting.id
    second.client.cancel(waiting.id, "the test")
    runner.client.cancel(first.id, "the test")
    assert runner.over(waiting).state is RunState.CANCELLED


def test_a_runner_forgets_what_is_older_than_the_setting(
    runner: Runner, old_run: str, second: SecondRunner
) -> None:
    def forgotten() -> bool | str:
        left = runner.rows("ledger", "select id, asked_at from ledger.run where id = %s", old_run)
        return not left or str(left)

    wait_until("the old run to be forgotten", forgotten)


def test_a_living_runner_ends_what_a_killed_one_left(runner: Runner, second: SecondRunner) -> None:
    runner.live(runner.commit("Sleep again", apart=sleepy(), facts="select 1 as id, 10 as amount"))
    wait_until(
        "the second runner to have the commit",
        lambda: (
            second.client.status().to_json()["live"]["sha"]
            == runner.client.status().to_json()["live"]["sha"]
            or "no"
        ),
    )
    left = second.ask(select="apart")
    runner.running(left, "pg_sleep")
    queued = second.ask(select="numbers")
    detail(runner, queued, "RUNNER_PARALLEL_RUNS")
    mine = runner.ask(select="apart", caller="alice")
    detail(runner, mine, "waiting for apart, held by build apart")
    [worker] = [
        one
        for one in psutil.process_iter(["cmdline"])
        if "mage_dbt.dbt.process" in str(one.info["cmdline"])
        and left.id in str(one.info["cmdline"])
    ]
    os.kill(second.process.pid, signal.SIGKILL)
    ended = runner.over(left)
    assert ended.state is RunState.ERROR
    assert TAKEN_OVER in ended.detail.lower()
    assert processes.ended(worker)
    runner.running(mine, "pg_sleep")
    runner.client.cancel(mine.id, "the test")
    assert runner.over(queued).state is RunState.SUCCESS
    finals = runner.rows(
        "ledger",
        "select run, count(*) from ledger.event where kind = 'state'"
        " and data ->> 'state' in ('Success', 'Error', 'Cancelled') group by 1 having count(*) > 1",
    )
    assert finals == []

    def empty() -> bool | str:
        left = runner.rows("ledger", "select run, began_at from queue.entry")
        return not left or str(left)

    def only_its_own() -> bool | str:
        locks = runner.rows("ledger", "select objid from pg_locks where locktype = 'advisory'")
        return len(locks) == 1 or str(locks)

    wait_until("the queue to be empty", empty)
    wait_until("the living runner to hold its own lock, and no other", only_its_own)


def test_a_refresh_of_a_killed_runner_was_taken_over_by_the_living_one(
    runner: Runner, second: SecondRunner
) -> None:
    """Which looks into the warehouse first, and so makes a folder for the run."""
    sha = runner.commit("Sleep in a refresh", apart=sleepy())
    runner.live(sha)
    wait_until(
        "the second runner to have the commit",
        lambda: second.client.status().to_json()["live"]["sha"] == sha or "no",
    )
    run = second.ask(operation="full_refresh", models="apart")
    runner.running(run, "pg_sleep")
    os.kill(second.process.pid, signal.SIGKILL)
    ended = runner.over(run)
    assert ended.state is RunState.ERROR
    assert TAKEN_OVER in ended.detail.lower(), ended.detail
    assert "Nothing has changed" in ended.detail, ended.detail


def test_a_runner_that_lost_the_database_leaves_its_run_to_the_one_that_took_it_over(
    runner: Runner, second: SecondRunner, tmp_path: Path
) -> None:
    sha = runner.commit("Sleep on", apart=sleepy(), facts="select 1 as id, 10 as amount")
    runner.live(sha)

    def has_it() -> bool | str:
        live = second.client.status().to_json()["live"]["sha"]
        return bool(live == sha) or str(live)

    wait_until("the second runner to have the commit", has_it)
    run = second.ask(select="apart+")
    runner.running(run, "pg_sleep")
    os.kill(second.process.pid, signal.SIGSTOP)
    runner.rows(
        SUPERUSER,
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
        " and objsubid = 2 and objid in (select unnest(array[runner, lease]) from queue.entry"
        " where run = %s)",
        run.id,
    )
    ended = runner.over(run)
    assert ended.state is RunState.ERROR and TAKEN_OVER in ended.detail.lower()
    os.kill(second.process.pid, signal.SIGCONT)
    log = tmp_path / "second" / "logs" / "runner.log"

    def says_so() -> bool | str:
        text = log.read_text()
        return f"run {run.id} is another runner's now" in text or text[-2000:]

    wait_until("the second runner to let go", says_so)
    now = runner.client.run(run.id)
    assert (now.state, now.detail, now.nodes) == (ended.state, ended.detail, ended.nodes)
    assert not [one for one in now.nodes if "cancelled" in one.message]
    (cause,) = runner.client.explanation(run.id).causes
    assert cause.failure_class is FailureClass.INFRASTRUCTURE
    assert cause.sentence.endswith("and another runner took the run over.")


def test_a_run_is_cancelled_at_whichever_runner_one_asks(
    runner: Runner, second: SecondRunner
) -> None:
    runner.live(runner.commit("Sleep long", apart=sleepy(), facts="select 1 as id, 10 as amount"))
    run = runner.ask(select="apart", caller="alice")
    runner.running(run, "pg_sleep")
    assert second.client.cancel(run.id, "bob at the other one").state is RunState.CANCELLED
    assert runner.at_work("pg_sleep") == []
    assert "bob at the other one" in runner.client.run(run.id).detail


def test_two_runners_take_requests_and_one_that_is_killed_loses_none(
    runner: Runner, tmp_path: Path
) -> None:
    runner.live(
        runner.commit(
            "Sleep a little",
            apart="select 1 as id, pg_sleep(3)::text as slept",
            numbers="select n as id, n * 10 as amount from generate_series(1, 3) as n",
            facts="select 1 as id, 10 as amount",
        )
    )
    second = start_second(runner, tmp_path / "second", RUNNER_PARALLEL_RUNS="2")
    keys = [f"both {number}" for number in range(6)]
    models = ("apart", "numbers", "facts")
    asked = {}
    for number, key in enumerate(keys):
        request = {"select": models[number % 3], "key": key}
        first, other = (runner, second) if number % 2 else (second, runner)
        asked[key] = first.ask(**request).id
        # The same key at the other runner is the same run.
        assert other.ask(**{**request, "caller": "whoever"}).id == asked[key]
    os.kill(second.process.pid, signal.SIGKILL)
    second.process.wait()
    runs = [runner.over(runner.client.run(one)) for one in asked.values()]
    for run in runs:
        stopped = "the runner was stopped" in run.detail.lower()
        assert run.state is RunState.SUCCESS or stopped, run.detail
    assert runner.ask(select="apart", key=keys[0]).id == asked[keys[0]], "a killed runner's key too"
    again = runner.run(select="apart numbers facts")
    assert again.state is RunState.SUCCESS, again.detail
    finals = runner.rows(
        "ledger",
        "select run from ledger.event where kind = 'state'"
        " and data ->> 'state' in ('Success', 'Error', 'Cancelled') group by 1 having count(*) > 1",
    )
    assert finals == []
    left = runner.query("select relname from pg_class where relname ~ '__dbt_(backup|tmp)'")
    assert left == []
