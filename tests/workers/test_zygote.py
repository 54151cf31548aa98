"""dbt's processes are forks of one that has imported dbt, and never of a wrong one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from mage_dbt.base.processes import ended
from mage_dbt.commits.graph_key import dbt_environment
from mage_dbt.launcher.database_roles import WAREHOUSE
from mage_dbt.model.run import RunState
from mage_dbt.workers import zygote
from mage_dbt.workers.forker import ForkerGone
from mage_dbt.workers.zygote import Zygotes
from tests.harness import runner as runners
from tests.harness.base import command_line
from tests.harness.database import Database
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

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

FORK_SERVER = ("fork-server", "a test's")

SCRIPT = """
import os, sys, time
from pathlib import Path
from mage_dbt.workers.zygote import Zygotes

log = (Path(sys.argv[1]) / "server.log").open("a+b")
words, folder = ("fork-server", "a test's"), Path(sys.argv[1])
started = Zygotes("a test's").start(words, folder, dict(os.environ), log)
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


def zygotes(runner: Runner) -> list[psutil.Process]:
    words = f"mage_dbt.dbt.process zygote {runner.home.warm}"
    return [
        process
        for process in psutil.process_iter()
        if words in command_line(process) and not ended(process)
    ]


def only_zygote(runner: Runner) -> psutil.Process:
    def probe() -> psutil.Process | str:
        found = zygotes(runner)
        return found[0] if len(found) == 1 else f"there are {found}"

    return wait_until("one zygote", probe)


def only_fork_server(runner: Runner) -> psutil.Process:
    """That of the newest commit, once those of the earlier ones have gone."""

    def probe() -> psutil.Process | str:
        found = runner.fork_servers()
        return found[0] if len(found) == 1 else f"{len(found)} fork servers"

    return wait_until("one fork server", probe)


def test_a_commits_process_is_a_fork_with_nothing_of_the_zygotes_own(runner: Runner) -> None:
    zygote = only_zygote(runner)
    fork_server = only_fork_server(runner)
    assert fork_server.ppid() == zygote.pid
    assert os.getpgid(fork_server.pid) == fork_server.pid
    runner.live(runner.commit("Another", apart="select 2 as id"))
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS and runner.how(run) == "warm"
    fork_server = only_fork_server(runner)
    assert fork_server.ppid() == zygote.pid

    def nothing_of_its_own() -> bool | str:
        sockets = files(zygote, "socket:") & files(fork_server, "socket:")
        # It has one of each of its workers, such as that of a survey, until the worker's end.
        pidfds = files(fork_server, "anon_inode:[pidfd]")
        return not sockets | pidfds or f"{sockets} {pidfds}"

    wait_until("the fork to have nothing of the zygote's own", nothing_of_its_own)


def files(process: psutil.Process, kind: str) -> set[str]:
    """What this process has open of a kind."""
    found = set()
    for path in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(str(path.readlink()))
    return {link for link in found if link.startswith(kind)}


def test_runs_outlive_a_killed_zygote_and_the_next_commit_has_another(runner: Runner) -> None:
    runner.live(runner.commit("Wait", apart=WAITS))
    zygote, _ = only_zygote(runner), only_fork_server(runner)
    with psycopg.connect(runner.postgres.url("dbt"), dbname=WAREHOUSE) as connection:
        connection.execute("select pg_advisory_xact_lock(815)")
        run = runner.ask(select="apart")
        runner.running(run, "pg_advisory_xact_lock")
        before = {process.pid for process in runner.fork_servers()}
        zygote.kill()
        wait_until("its end", lambda: ended(zygote) or "it runs")
        assert {process.pid for process in runner.fork_servers()} == before
        assert runner.at_work("pg_advisory_xact_lock")
        runner.live(runner.commit("Wait no more", apart="select 3 as id"))
        assert only_zygote(runner).pid != zygote.pid
        fresh = [process for process in runner.fork_servers() if process.pid not in before]
        assert [process.ppid() for process in fresh] == [only_zygote(runner).pid]
    assert runner.over(run).state is RunState.SUCCESS
    again = runner.run(select="apart")
    assert again.state is RunState.SUCCESS and runner.how(again) == "warm"


def test_a_changed_secret_is_never_served_by_a_zygote_of_the_old_one(
    runner: Runner, secret: Path
) -> None:
    runner.live(runner.commit("Four", apart="select 4 as id"))
    zygote = only_zygote(runner)
    assert runner.run(select="apart").state is RunState.SUCCESS
    assert runner.query("select id from one.apart") == [(4,)]
    secret.write_text("two")
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS and runner.how(run) == "warm"
    assert runner.query("select id from two.apart") == [(4,)]
    wait_until("the old one to go", lambda: ended(zygote) or "it runs")
    fork_server = only_fork_server(runner)
    assert fork_server.ppid() == only_zygote(runner).pid
    for process in (fork_server, only_zygote(runner)):
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
            runner.kill(f"mage_dbt.dbt.process run {runner.home.runs / run.id}")

            def looking() -> psutil.Process | str:
                found = runner.processes(f"mage_dbt.dbt.process ended {runner.home.runs / run.id}")
                return found[0] if found else "nobody looks"

            looks = wait_until("somebody to look", looking)
            assert looks.ppid() == only_zygote(runner).pid
        finally:
            server.resume()
        runner.until_idle("pg_advisory_xact_lock")  # but for the test's own, which is idle
    ended_early = runner.over(run)
    assert ended_early.state is RunState.ERROR and "killed by SIGKILL" in ended_early.detail
    assert runner.run(select="apart").state is RunState.SUCCESS


def test_the_next_runner_has_a_zygote_of_its_own(runner: Runner) -> None:
    zygote = only_zygote(runner)
    runner.restart_runner(signal.SIGKILL)
    wait_until("its end", lambda: ended(zygote) or "it runs")
    runner.answering()
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS and runner.how(run) == "warm"
    assert {process.ppid() for process in runner.fork_servers()} == {only_zygote(runner).pid}


def test_nothing_outlives_a_killed_runner_that_no_subreaper_cleans_up_after(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        env=dbt_environment(os.environ),
        text=True,
    )
    assert process.stdout is not None
    fork_server = psutil.Process(int(process.stdout.readline()))
    zygote = fork_server.parent()
    assert zygote is not None and zygote.ppid() == process.pid
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until("both ends", lambda: (ended(zygote) and ended(fork_server)) or "they run")


@pytest.mark.parametrize("fault", ["it takes too long", "it has a thread"])
def test_a_fork_server_is_executed_where_a_zygote_cannot_serve(
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
        monkeypatch.setattr(zygote, "IMPORT_SECONDS", 0.2)
    zygotes = Zygotes("a test's")
    with (tmp_path / "server.log").open("a+b") as log, caplog.at_level(logging.INFO):
        started = zygotes.start(FORK_SERVER, tmp_path, environment, log)
    assert psutil.Process(started.process.pid).ppid() == os.getpid()
    expected = "did not fork within" if fault == "it takes too long" else "AssertionError"
    [said] = [text for text in caplog.messages if "without the zygote" in text]
    assert expected in said

    # It is not tried again at once: each try is an import of dbt.
    began = [text for text in caplog.messages if "begun" in text]
    zygotes.begin(environment)
    assert [text for text in caplog.messages if "begun" in text] == began
    started.connection.close()
    started.answer.close()
    assert started.process.wait(SECONDS) == 0


def test_a_stopping_runner_starts_no_fork_server(tmp_path: Path) -> None:
    zygotes = Zygotes("a test's")
    zygotes.close()
    with (
        (tmp_path / "server.log").open("a+b") as log,
        pytest.raises(ForkerGone, match="the runner stops"),
    ):
        zygotes.start(FORK_SERVER, tmp_path, {}, log)
