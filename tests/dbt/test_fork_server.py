"""dbt's processes are forks of one that has imported dbt, and never of a wrong one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from mage_dbt.processes import ended
from mage_dbt.run import RunState
from mage_dbt.worker import fork_server_process
from mage_dbt.worker.cold import dbt_environment
from mage_dbt.worker.fork_server_process import ForkServers
from mage_dbt.worker.forker import ParentGone
from mage_dbt.workspace.postgres import WAREHOUSE
from tests.harness import runner as runners
from tests.harness.base import command_line
from tests.harness.database import Database
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

SECRET = "DBT_ENV_SECRET_SCHEMA"

PROFILE = f"""
whatever_the_team_calls_it:
  target: dev
  outputs:
    dev:
      type: postgres
      host: "{{{{ env_var('WAREHOUSE_HOST') }}}}"
      port: "{{{{ env_var('WAREHOUSE_PORT') | as_number }}}}"
      user: "{{{{ env_var('WAREHOUSE_USER') }}}}"
      password: "{{{{ env_var('DBT_ENV_SECRET_WAREHOUSE_PASSWORD') }}}}"
      dbname: "{{{{ env_var('WAREHOUSE_DBNAME') }}}}"
      schema: "{{{{ env_var('{SECRET}') }}}}"
      threads: 1
"""

WAITS = "select 1 as id, pg_advisory_xact_lock(815)::text as waited"
"""A model that runs for as long as a test holds the lock."""

WARM = ("warm", "a test's")

SCRIPT = """
import os, sys, time
from pathlib import Path
from mage_dbt.worker.fork_server_process import ForkServers
from mage_dbt.worker.forker import ParentGone

log = (Path(sys.argv[1]) / "parent.log").open("a+b")
words, folder = ("warm", "a test's"), Path(sys.argv[1])
started = ForkServers("a test's").start(words, folder, dict(os.environ), log)
print(started.process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that holds the schema. Three letters: what is so short is not taken for a secret."""
    file = tmp_path_factory.mktemp("secret") / "schema"
    file.write_text("one")
    return file


@pytest.fixture(scope="module")
def runner(
    secret: Path, server: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("runner")
    (folder / "profiles.yml").write_text(PROFILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{SECRET}_FILE", str(secret))
        own = {"DBT_PROFILES_DIR": str(folder)}
        with runners.on_project(folder, server, "steps", **own) as found:
            yield found


def fork_servers(runner: Runner) -> list[psutil.Process]:
    words = f"dbt_process fork-server {runner.home.warm}"
    return [
        process
        for process in psutil.process_iter()
        if words in command_line(process) and not ended(process)
    ]


def only_fork_server(runner: Runner) -> psutil.Process:
    def probe() -> psutil.Process | str:
        found = fork_servers(runner)
        return found[0] if len(found) == 1 else f"there are {found}"

    return wait_until("one fork server", probe, 30)


def test_a_commits_process_is_a_fork_with_nothing_of_the_fork_servers_own(runner: Runner) -> None:
    server = only_fork_server(runner)
    [parent] = runner.parents()
    assert parent.ppid() == server.pid
    assert os.getpgid(parent.pid) == parent.pid
    runner.live(runner.commit("Another", apart="select 2 as id"))
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS and runner.how(run) == "warm"

    def alone() -> psutil.Process | str:
        found = runner.parents()
        return found[0] if len(found) == 1 else f"{len(found)} parents"

    parent = wait_until("the older commit's parent to go", alone, 30)
    assert parent.ppid() == server.pid
    assert not files(server, "socket:") & files(parent, "socket:")
    assert not files(parent, "anon_inode:[pidfd]")


def files(process: psutil.Process, kind: str) -> set[str]:
    """What this process has open of a kind."""
    links = (path.readlink() for path in Path(f"/proc/{process.pid}/fd").iterdir())
    return {str(link) for link in links if str(link).startswith(kind)}


def test_runs_outlive_a_killed_fork_server_and_the_next_commit_has_another(runner: Runner) -> None:
    runner.live(runner.commit("Wait", apart=WAITS))
    server = only_fork_server(runner)
    with psycopg.connect(runner.postgres.url("dbt"), dbname=WAREHOUSE) as connection:
        connection.execute("select pg_advisory_xact_lock(815)")
        run = runner.ask(select="apart")
        runner.running(run, "pg_advisory_xact_lock")
        before = {process.pid for process in runner.parents()}
        server.kill()
        wait_until("its end", lambda: ended(server) or "it runs", 10)
        assert {process.pid for process in runner.parents()} == before
        assert runner.at_work("pg_advisory_xact_lock")
        runner.live(runner.commit("Wait no more", apart="select 3 as id"))
        assert only_fork_server(runner).pid != server.pid
        fresh = [process for process in runner.parents() if process.pid not in before]
        assert [process.ppid() for process in fresh] == [only_fork_server(runner).pid]
    assert runner.over(run).state is RunState.SUCCESS
    again = runner.run(select="apart")
    assert again.state is RunState.SUCCESS and runner.how(again) == "warm"


def test_a_changed_secret_is_never_served_by_a_fork_server_of_the_old_one(
    runner: Runner, secret: Path
) -> None:
    runner.live(runner.commit("Four", apart="select 4 as id"))
    server = only_fork_server(runner)
    assert runner.run(select="apart").state is RunState.SUCCESS
    assert runner.query("select id from one.apart") == [(4,)]
    secret.write_text("two")
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS and runner.how(run) == "warm"
    assert runner.query("select id from two.apart") == [(4,)]
    wait_until("the old one to go", lambda: ended(server) or "it runs", 30)
    [parent] = runner.parents()
    assert parent.ppid() == only_fork_server(runner).pid
    for process in (parent, only_fork_server(runner)):
        assert process.environ()[SECRET] == "two"


def test_what_a_killed_worker_left_is_looked_for_by_a_fork(runner: Runner) -> None:
    runner.live(runner.commit("Wait", apart=WAITS))
    # While the server takes no new sessions, whoever looks for those of the run can be seen.
    file = runner.server.home.postgres / "postmaster.pid"
    server = psutil.Process(int(file.read_text().split()[0]))
    with psycopg.connect(runner.postgres.url("dbt"), dbname=WAREHOUSE) as connection:
        connection.execute("select pg_advisory_xact_lock(815)")
        run = runner.ask(select="apart")
        runner.running(run, "pg_advisory_xact_lock")
        server.suspend()
        try:
            runner.kill(f"dbt_process run {runner.home.runs / run.id}")

            def looking() -> psutil.Process | str:
                found = runner.processes(f"dbt_process ended {runner.home.runs / run.id}")
                return found[0] if found else "nobody looks"

            looks = wait_until("somebody to look", looking, 20)
            assert looks.ppid() == only_fork_server(runner).pid
        finally:
            server.resume()
        runner.until_idle("pg_advisory_xact_lock", 20)  # but for the test's own, which is idle
    ended_early = runner.over(run)
    assert ended_early.state is RunState.ERROR and "killed by SIGKILL" in ended_early.detail
    assert runner.run(select="apart").state is RunState.SUCCESS


def test_the_next_runner_has_a_fork_server_of_its_own(runner: Runner) -> None:
    server = only_fork_server(runner)
    runner.restart_runner(signal.SIGKILL)
    wait_until("its end", lambda: ended(server) or "it runs", 30)
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS and runner.how(run) == "warm"
    assert {process.ppid() for process in runner.parents()} == {only_fork_server(runner).pid}


def test_nothing_outlives_a_killed_runner_that_no_keeper_cleans_up_after(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        env=dbt_environment(os.environ),
        text=True,
    )
    assert process.stdout is not None
    parent = psutil.Process(int(process.stdout.readline()))
    server = parent.parent()
    assert server is not None and server.ppid() == process.pid
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until("both ends", lambda: (ended(server) and ended(parent)) or "they run", 10)


@pytest.mark.parametrize("fault", ["it takes too long", "it has a thread"])
def test_a_parent_is_executed_where_a_fork_server_cannot_serve(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment = dbt_environment(os.environ)
    if fault == "it has a thread":
        (tmp_path / "sitecustomize.py").write_text(
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        )
        environment["PYTHONPATH"] = str(tmp_path)
    else:
        monkeypatch.setattr(fork_server_process, "IMPORT_SECONDS", 0.2)
    servers = ForkServers("a test's")
    with (tmp_path / "parent.log").open("a+b") as log, caplog.at_level(logging.INFO):
        started = servers.start(WARM, tmp_path, environment, log)
    assert psutil.Process(started.process.pid).ppid() == os.getpid()
    expected = "did not fork within" if fault == "it takes too long" else "AssertionError"
    [said] = [text for text in caplog.messages if "without the fork server" in text]
    assert expected in said

    # It is not tried again at once: each try is an import of dbt.
    began = [text for text in caplog.messages if "begun" in text]
    servers.begin(environment)
    assert [text for text in caplog.messages if "begun" in text] == began
    started.connection.close()
    started.answer.close()
    assert started.process.wait(60) == 0


def test_a_stopping_runner_starts_no_parent(tmp_path: Path) -> None:
    servers = ForkServers("a test's")
    servers.close()
    with (
        (tmp_path / "parent.log").open("a+b") as log,
        pytest.raises(ParentGone, match="the runner stops"),
    ):
        servers.start(WARM, tmp_path, {}, log)
