"""Runs at once on a server that is not ours: a role, a search path, a pooler, shared catalogs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import psycopg
import psycopg2
import pytest

from mage_dbt.dbt.sessions.postgres import PatientCursor
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from tests.conftest import not_run
from tests.harness import database, system
from tests.harness import runner as runners
from tests.harness.ports import free_ports
from tests.harness.repository import git, make_repository
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

DATABASE = "of_the_reporter"

PROFILE = """
shared:
  target: prod
  outputs:
    prod:
      type: postgres
      host: 127.0.0.1
      port: {port}
      user: login
      password: known
      dbname: of_the_reporter
      schema: analytics
      threads: 2
      role: reporter
      {more}
"""

SEARCH_PATH = "search_path: analytics"

PREPARE = """
create role reporter; create role reader;
create role login login noinherit password 'known'; grant reporter to login;
"""

POOLER = """
[databases]
of_the_reporter = host=127.0.0.1 port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
auth_type = plain
auth_file = {users}
pool_mode = {mode}
logfile = {folder}/log
unix_socket_dir =
"""


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """On a server of its own, which gets other roles and another database."""
    folder = tmp_path_factory.mktemp("runner")
    repository = make_repository(folder / "repository", "shared")
    profiles = folder / "profiles"
    profiles.mkdir()
    (profiles / "profiles.yml").write_text(PROFILE.format(port=1, more=SEARCH_PATH))
    with database.started(folder / "home") as server:
        server.prepare()
        server.keep_as_templates()
        settings = {"DBT_METRIC_REPO": str(repository), "DBT_PROFILES_DIR": str(profiles)}
        runner = runners.begin(folder, server, **settings)
        try:
            with psycopg.connect(superuser(runner), autocommit=True) as connection:
                connection.execute(PREPARE)
                connection.execute(f"create database {DATABASE} owner reporter")
            ask(runner, "create schema analytics authorization reporter")
            ask(runner, "create schema hooks authorization login")
            ask(runner, "grant usage on schema hooks to reporter with grant option")
            use(runner, SEARCH_PATH)
            runner.live(git(repository, "rev-parse", "HEAD"))
            yield runner
        finally:
            runner.stop()


def superuser(runner: Runner) -> str:
    return runner.postgres.url("superuser").replace("//superuser:", "//postgres:")


def ask(runner: Runner, sql: str) -> list[Any]:
    with psycopg.connect(superuser(runner), dbname=DATABASE, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def use(runner: Runner, more: str = "", port: int | None = None) -> None:
    """The team's profiles.yml from now on."""
    assert runner.settings.dbt_profiles_dir is not None
    profile = PROFILE.format(port=port or runner.settings.postgres_port, more=more)
    (runner.settings.dbt_profiles_dir / "profiles.yml").write_text(profile)


def at_work(runner: Runner, words: str) -> int:
    return len(
        ask(
            runner,
            "select pid from pg_stat_activity where state <> 'idle' and pid <> pg_backend_pid()"
            f" and query like '%{words}%'",
        )
    )


def sleeps(runner: Runner, sessions: int = 1) -> None:
    wait_until(
        f"{sessions} sessions to sleep",
        lambda: at_work(runner, "pg_sleep(600)") == sessions or "not so many",
    )


def kill_worker(runner: Runner, run: Run) -> None:
    folder = str(runner.home.runs / run.id)
    for process in psutil.process_iter(["cmdline"]):
        if folder in (process.info["cmdline"] or ()):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise AssertionError("the run has no process")


@pytest.fixture(autouse=True)
def nothing_left(runner: Runner) -> Iterator[None]:
    yield
    assert at_work(runner, "pg_sleep") == 0


def test_a_cancelled_run_leaves_nothing_at_work_under_a_role(runner: Runner) -> None:
    run = runner.ask(select="sleepy")
    sleeps(runner)
    cancelled = runner.client.cancel(run.id, "the test")
    assert cancelled.state is RunState.CANCELLED
    assert at_work(runner, "pg_sleep") == 0
    log = (runner.home.runs / run.id / "logs" / "dbt.log").read_text()
    assert "permission denied" not in log


def test_a_killed_worker_keeps_its_place_until_its_sessions_are_gone(runner: Runner) -> None:
    run = runner.ask(select="sleepy")
    sleeps(runner)
    waiting = runner.ask(select="sleepy")
    kill_worker(runner, run)
    ended = runner.over(run)
    assert ended.state is RunState.ERROR and "SIGKILL" in ended.detail
    most = 0

    def second_sleeps() -> bool | str:
        nonlocal most
        now = at_work(runner, "pg_sleep(600)")
        most = max(most, now)
        state = runner.client.run(waiting.id).state
        return (state is RunState.RUNNING and now == 1) or f"{state}, {now} at work"

    wait_until("the run that waited to run", second_sleeps)
    assert most == 1
    runner.client.cancel(waiting.id, "the test")


def test_a_place_is_kept_and_that_is_said_while_nobody_can_look(runner: Runner) -> None:
    run = runner.ask(select="sleepy")
    sleeps(runner)
    ask(runner, "alter role login nologin")
    kill_worker(runner, run)
    ended = runner.over(run)
    ask(runner, "alter role login login")
    assert "Its entry in the queue is kept" in ended.detail
    assert "not permitted to log in" in ended.detail
    waiting = runner.ask(select="sleepy")
    wait_until(
        "its turn", lambda: runner.client.run(waiting.id).state is RunState.RUNNING or "waits"
    )
    sleeps(runner)
    runner.client.cancel(waiting.id, "the test")


def test_one_waits_for_the_other_that_stores_the_failures_of_the_same_test(runner: Runner) -> None:
    use(runner)
    assert runner.run(select="orders").state is RunState.SUCCESS
    ask(runner, "drop schema analytics_dbt_test__audit cascade")

    def two_wait() -> bool | str:
        details = [runner.client.run(one.id).detail for one in asked]
        waiting = [one for one in details if one.startswith("waiting for costly, held by")]
        return len(waiting) == 2 or str(details)

    with psycopg.connect(superuser(runner), dbname=DATABASE) as connection:
        connection.execute("lock table analytics.orders")  # the first waits for the test
        asked = [runner.ask(operation="command", command="test -s costly") for _ in range(3)]
        wait_until("two of them to wait for the first", two_wait)
    for one in asked:
        run = runner.over(one)
        assert run.state is RunState.SUCCESS, (run.detail, run.nodes)


def test_runs_that_make_the_same_schema_and_share_hooks_all_pass(runner: Runner) -> None:
    use(runner)
    ask(runner, "drop schema if exists analytics_fresh cascade")
    asked = [runner.ask(select=f"fresh_{number}") for number in range(3)]
    for one in asked:
        run = runner.over(one)
        assert run.state is RunState.SUCCESS, (run.detail, run.nodes)


GRANT = "grant usage on schema analytics to reader"

FUNCTION = "create or replace function analytics.raced() returns int language sql as 'select 1'"


@pytest.mark.parametrize("within", [False, True], ids=["alone", "in a transaction"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("create schema raced", "/* {} */ create schema if not exists raced"),
        (GRANT, f"-- dbt\n{GRANT}"),
        (FUNCTION, FUNCTION),
        (
            "grant select on all tables in schema analytics to reader",
            "alter table analytics.renamed rename to renamed_again",
        ),
    ],
    ids=["schema", "grant", "function", "rename"],
)
def test_a_statement_that_loses_a_race_in_the_catalog_is_done_again(
    runner: Runner, first: str, second: str, within: bool
) -> None:
    ask(runner, "drop schema if exists raced; drop function if exists analytics.raced()")
    ask(runner, "drop table if exists analytics.renamed, analytics.renamed_again")
    ask(runner, "create table analytics.renamed (id int)")
    address = {"dsn": superuser(runner), "dbname": DATABASE}
    with (
        ThreadPoolExecutor(1) as beside,
        psycopg.connect(superuser(runner), dbname=DATABASE) as one,
        closing(psycopg2.connect(**address, cursor_factory=PatientCursor)) as other,
    ):
        one.execute(first.encode())
        cursor = other.cursor()
        if within:
            cursor.execute("create temporary table so_far as select 1 as id")
        raced = beside.submit(cursor.execute, second)
        pid = other.info.backend_pid
        waits = f"select 1 from pg_stat_activity where pid = {pid} and wait_event_type = 'Lock'"
        wait_until(
            "the second to wait for the first", lambda: bool(ask(runner, waits)) or "not yet"
        )
        one.commit()
        raced.result(SECONDS)
        if within:
            cursor.execute("select id from so_far")
            assert cursor.fetchall() == [(1,)]
        other.commit()


def test_models_whose_old_tables_are_put_aside_under_one_name_wait_for_each_other(
    runner: Runner,
) -> None:
    names = [f"a_name_that_is_cut_off_where_dbt_puts_the_old_table_{one}" for one in (1, 2)]
    one, two = (runner.client.plan(Request.parse({"select": name})).to_json() for name in names)
    assert set(one["writes"]) & set(two["writes"])


@pytest.fixture
def pooler(runner: Runner) -> Iterator[Callable[[str], int]]:
    """Begins PgBouncer in this mode; gives its port."""
    program = system.pgbouncer()
    if program is None:
        not_run("no PgBouncer here; install the system's package pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    folder.chmod(0o777)  # it refuses to be root
    begun: list[subprocess.Popen[bytes]] = []

    def begin(mode: str) -> int:
        [own] = free_ports(1)
        users, config = folder / "users.txt", folder / f"{mode}.ini"
        users.write_text('"login" "known"\n')
        config.write_text(
            POOLER.format(
                port=runner.settings.postgres_port, own=own, users=users, mode=mode, folder=folder
            )
        )
        words = [program, *(("-u", "nobody") if os.getuid() == 0 else ()), str(config)]
        begun.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        return own

    yield begin
    for one in begun:
        one.terminate()
        one.wait(SECONDS)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_with_its_default_settings_works_as_without(
    runner: Runner, pooler: Callable[[str], int], mode: str
) -> None:
    use(runner, port=pooler(mode))
    run = runner.run(select="orders fresh_0")
    assert run.state is RunState.SUCCESS, (run.detail, run.nodes)
    run = runner.ask(select="sleepy")
    sleeps(runner)
    assert runner.client.cancel(run.id, "the test").state is RunState.CANCELLED
    assert at_work(runner, "pg_sleep") == 0
    run = runner.ask(select="sleepy")
    sleeps(runner)
    kill_worker(runner, run)
    assert "Its entry" not in runner.over(run).detail
    assert at_work(runner, "pg_sleep") == 0
