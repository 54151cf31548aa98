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

from mage_dbt.request import Request
from mage_dbt.run import Run, RunState
from mage_dbt.worker.postgres_sessions import PatientCursor
from mage_dbt.workspace.progress import wait_for
from tests.conftest import not_run
from tests.dbt.conftest import Stack, git, make_repository, start_stack, stop_stack
from tests.live import free_ports

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
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    repository = make_repository(folder / "repository", "shared")
    (folder / "profiles").mkdir()
    (folder / "profiles" / "profiles.yml").write_text(PROFILE.format(port=1, more=SEARCH_PATH))
    stack = start_stack(
        folder, DBT_METRIC_REPO=str(repository), DBT_PROFILES_DIR=str(folder / "profiles")
    )
    try:
        with psycopg.connect(superuser(stack), autocommit=True) as connection:
            connection.execute(PREPARE)
            connection.execute(f"create database {DATABASE} owner reporter")
        ask(stack, "create schema analytics authorization reporter")
        ask(stack, "create schema hooks authorization login")
        ask(stack, "grant usage on schema hooks to reporter with grant option")
        use(stack, SEARCH_PATH)
        stack.live(git(repository, "rev-parse", "HEAD"))
        yield stack
    finally:
        stop_stack(stack)


def superuser(stack: Stack) -> str:
    return stack.postgres.url("superuser").replace("//superuser:", "//postgres:")


def ask(stack: Stack, sql: str) -> list[Any]:
    with psycopg.connect(superuser(stack), dbname=DATABASE, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def use(stack: Stack, more: str = "", port: int | None = None) -> None:
    """The team's profiles.yml from now on."""
    assert stack.settings.dbt_profiles_dir is not None
    profile = PROFILE.format(port=port or stack.settings.postgres_port, more=more)
    (stack.settings.dbt_profiles_dir / "profiles.yml").write_text(profile)


def at_work(stack: Stack, words: str) -> int:
    return len(
        ask(
            stack,
            "select pid from pg_stat_activity where state <> 'idle' and pid <> pg_backend_pid()"
            f" and query like '%{words}%'",
        )
    )


def sleeps(stack: Stack, sessions: int = 1) -> None:
    wait_for(
        f"{sessions} sessions to sleep",
        lambda: at_work(stack, "pg_sleep(60)") == sessions or "not so many",
        60,
        stack.progress,
    )


def kill_worker(stack: Stack, run: Run) -> None:
    folder = str(stack.home.runs / run.id)
    for process in psutil.process_iter(["cmdline"]):
        if folder in (process.info["cmdline"] or ()):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise AssertionError("the run has no process")


@pytest.fixture(autouse=True)
def nothing_left(stack: Stack) -> Iterator[None]:
    yield
    assert at_work(stack, "pg_sleep") == 0


def test_a_cancelled_run_leaves_nothing_at_work_under_a_role(stack: Stack) -> None:
    run = stack.ask(select="sleepy")
    sleeps(stack)
    cancelled = stack.client.cancel(run.id, "the test")
    assert cancelled.state is RunState.CANCELLED
    assert at_work(stack, "pg_sleep") == 0
    log = (stack.home.runs / run.id / "logs" / "dbt.log").read_text()
    assert "permission denied" not in log


def test_a_killed_worker_keeps_its_place_until_its_sessions_are_gone(stack: Stack) -> None:
    run = stack.ask(select="sleepy")
    sleeps(stack)
    waiting = stack.ask(select="sleepy")
    kill_worker(stack, run)
    ended = stack.over(run)
    assert ended.state is RunState.ERROR and "SIGKILL" in ended.detail
    most = 0

    def second_sleeps() -> bool | str:
        nonlocal most
        now = at_work(stack, "pg_sleep(60)")
        most = max(most, now)
        state = stack.client.run(waiting.id).state
        return (state is RunState.RUNNING and now == 1) or f"{state}, {now} at work"

    wait_for("the run that waited to run", second_sleeps, 60, stack.progress)
    assert most == 1
    stack.client.cancel(waiting.id, "the test")


def test_a_place_is_kept_and_that_is_said_while_nobody_can_look(stack: Stack) -> None:
    run = stack.ask(select="sleepy")
    sleeps(stack)
    ask(stack, "alter role login nologin")
    kill_worker(stack, run)
    ended = stack.over(run)
    ask(stack, "alter role login login")
    assert "Its place in the line is kept" in ended.detail
    assert "not permitted to log in" in ended.detail
    waiting = stack.ask(select="sleepy")
    wait_for(
        "its turn",
        lambda: stack.client.run(waiting.id).state is RunState.RUNNING or "waits",
        60,
        stack.progress,
    )
    sleeps(stack)
    stack.client.cancel(waiting.id, "the test")


def test_one_waits_for_the_other_that_stores_the_failures_of_the_same_test(stack: Stack) -> None:
    use(stack)
    assert stack.run(select="orders").state is RunState.SUCCESS
    ask(stack, "drop schema analytics_dbt_test__audit cascade")
    asked = [stack.ask(operation="command", command="test -s costly") for _ in range(3)]
    reasons: set[str] = set()

    def all_over() -> bool | str:
        runs = [stack.client.run(one.id) for one in asked]
        reasons.update(one.detail for one in runs if "waiting for" in one.detail)
        return all(one.state.final for one in runs) or "not yet"

    wait_for("the tests to be over", all_over, 60, stack.progress)
    for one in asked:
        run = stack.client.run(one.id)
        assert run.state is RunState.SUCCESS, (run.detail, run.nodes)
    assert any(one.startswith("waiting for costly, held by") for one in reasons)


def test_runs_that_make_the_same_schema_and_share_hooks_all_pass(stack: Stack) -> None:
    use(stack)
    ask(stack, "drop schema if exists analytics_fresh cascade")
    asked = [stack.ask(select=f"fresh_{number}") for number in range(3)]
    for one in asked:
        run = stack.over(one)
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
    stack: Stack, first: str, second: str, within: bool
) -> None:
    ask(stack, "drop schema if exists raced; drop function if exists analytics.raced()")
    ask(stack, "drop table if exists analytics.renamed, analytics.renamed_again")
    ask(stack, "create table analytics.renamed (id int)")
    address = {"dsn": superuser(stack), "dbname": DATABASE}
    with (
        ThreadPoolExecutor(1) as beside,
        psycopg.connect(superuser(stack), dbname=DATABASE) as one,
        closing(psycopg2.connect(**address, cursor_factory=PatientCursor)) as other,
    ):
        one.execute(first.encode())
        cursor = other.cursor()
        if within:
            cursor.execute("create temporary table so_far as select 1 as id")
        raced = beside.submit(cursor.execute, second)
        pid = other.info.backend_pid
        waits = f"select 1 from pg_stat_activity where pid = {pid} and wait_event_type = 'Lock'"
        wait_for(
            "the second to wait for the first",
            lambda: bool(ask(stack, waits)) or "not yet",
            20,
            stack.progress,
        )
        one.commit()
        raced.result(20)
        if within:
            cursor.execute("select id from so_far")
            assert cursor.fetchall() == [(1,)]
        other.commit()


def test_models_whose_old_tables_are_put_aside_under_one_name_wait_for_each_other(
    stack: Stack,
) -> None:
    names = [f"a_name_that_is_cut_off_where_dbt_puts_the_old_table_{one}" for one in (1, 2)]
    one, two = (stack.client.plan(Request.parse({"select": name})) for name in names)
    assert set(one["writes"]) & set(two["writes"])


@pytest.fixture
def pooler(stack: Stack) -> Iterator[Callable[[str], int]]:
    """Begins PgBouncer in this mode; gives its port."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not Path(program).exists():
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
                port=stack.settings.postgres_port, own=own, users=users, mode=mode, folder=folder
            )
        )
        words = [program, *(("-u", "nobody") if os.getuid() == 0 else ()), str(config)]
        begun.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        return own

    yield begin
    for one in begun:
        one.terminate()
        one.wait(10)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_with_its_default_settings_works_as_without(
    stack: Stack, pooler: Callable[[str], int], mode: str
) -> None:
    use(stack, port=pooler(mode))
    run = stack.run(select="orders fresh_0")
    assert run.state is RunState.SUCCESS, (run.detail, run.nodes)
    run = stack.ask(select="sleepy")
    sleeps(stack)
    assert stack.client.cancel(run.id, "the test").state is RunState.CANCELLED
    assert at_work(stack, "pg_sleep") == 0
    run = stack.ask(select="sleepy")
    sleeps(stack)
    kill_worker(stack, run)
    assert "Its place" not in stack.over(run).detail
    assert at_work(stack, "pg_sleep") == 0
