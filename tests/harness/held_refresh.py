"""Holds the worker of a refresh, or of its undo, at one step, by PostgreSQL's own means.

Each of HOLDS is a block: it has a run asked for, and begins when that run's worker is held at the
step. What holds it is let go at the block's end, or earlier with `Held.let_go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import psycopg

from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.model.refresh import Step
from mage_dbt.model.run import Run
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

BUILD, TESTS, SWAP = 1, 2, 3
"""Numbers of advisory locks. The project `refresh` waits for the first two, in its model and in a
test of it; a swap waits for the third."""

LIVE = "analytics.facts"

WAITS_IN_SWAP = f"""
create function public.waits_in_swap() returns event_trigger language plpgsql
    set lock_timeout = 0 as $$ begin
        if current_query() like '%set schema%' then
            perform pg_advisory_xact_lock_shared({SWAP});
        end if;
    end $$;
create event trigger waits_in_swap on ddl_command_start when tag in ('DROP SCHEMA')
    execute function public.waits_in_swap();
alter event trigger waits_in_swap enable replica;
"""
"""The last statement of a swap drops the schema from which everything has moved. A swap refuses to
go on under an event trigger, but for those of replicas."""

AS_REPLICA = "alter role dbt set session_replication_role = replica"

GO_ON = """
alter role dbt reset session_replication_role;
drop event trigger if exists waits_in_swap;
drop function if exists public.waits_in_swap;
"""

Ask = Callable[..., Run]


@dataclass
class Held:
    """A run whose worker is held."""

    run: Run
    let_go: Callable[[], None] = lambda: None
    """Ends after the kill what whoever cleans up would wait for."""
    stopped: psutil.Process | None = None
    """The worker, where it has to be resumed to notice anything."""


Hold = Callable[[Runner, Ask], AbstractContextManager[Held]]


@contextmanager
def _begins(runner: Runner, ask: Ask) -> Iterator[Held]:
    """Its first commit, which makes the schema aside or takes it over, is under way."""
    with commits_can_wait(runner) as wait:
        let_go = wait()
        run = ask()
        until_commit_waits(runner, run)
        yield Held(run, let_go)


@contextmanager
def _waits_at(gate: int, runner: Runner, ask: Ask) -> Iterator[Held]:
    with _gate(runner, gate):
        run = ask()
        _until_lock_waits(runner, run, "advisory")
        yield Held(run)


_builds, _tests = partial(_waits_at, BUILD), partial(_waits_at, TESTS)


@contextmanager
def _rehearses(runner: Runner, ask: Ask) -> Iterator[Held]:
    """It waits to copy the definition of the live table, for some seconds."""
    with ExitStack() as stack, _tests(runner, ask) as held:
        stack.enter_context(_locked(runner, LIVE, "access exclusive"))
        _open(runner, TESTS)
        _until_lock_waits(runner, held.run, "relation", LIVE)
        yield held


@contextmanager
def _compares(runner: Runner, ask: Ask) -> Iterator[Held]:
    """It waits to analyze the new table."""
    with ExitStack() as stack, _rehearses(runner, ask) as held:
        aside = f"mage_dbt_new_{held.run.id.replace('-', '_')}.facts"
        stack.enter_context(_locked(runner, aside, "share update exclusive"))
        _end_holders(runner, LIVE, "AccessExclusiveLock")
        _until_lock_waits(runner, held.run, "relation", aside)
        yield Held(held.run, lambda: _end_holders(runner, aside, "ShareUpdateExclusiveLock"))


@contextmanager
def _holds(runner: Runner, ask: Ask) -> Iterator[Held]:
    run = ask(show_first=True)
    until_step(runner, run, Step.HOLDS)
    yield Held(run)


@contextmanager
def _waits_for_a_snapshot(runner: Runner, ask: Ask) -> Iterator[Held]:
    with old_snapshot(runner):
        run = ask()
        until_step(runner, run, Step.WAITS)
        yield Held(run)


@contextmanager
def _waits_for_a_lock(runner: Runner, ask: Ask) -> Iterator[Held]:
    with _locked(runner, LIVE, "access share"):
        run = ask()
        until_step(runner, run, Step.WAITS)
        yield Held(run)


@contextmanager
def _is_inside(runner: Runner, ask: Ask) -> Iterator[Held]:
    """All has changed its place; the transaction goes on."""
    try:
        _admin(runner, AS_REPLICA)
        with _gate(runner, SWAP), _waits_for_a_lock(runner, ask) as held:
            _admin(runner, WAITS_IN_SWAP)  # only now: its rehearsal would wait
            _end_holders(runner, LIVE, "AccessShareLock")
            _until_lock_waits(runner, held.run, "advisory")
            yield held
    finally:
        _admin(runner, GO_ON)


@contextmanager
def _commits(runner: Runner, ask: Ask) -> Iterator[Held]:
    with commits_can_wait(runner) as wait, _is_inside(runner, ask) as held:
        let_go = wait()
        _open(runner, SWAP)
        until_commit_waits(runner, held.run)
        yield Held(held.run, let_go)


@contextmanager
def _has_committed(runner: Runner, ask: Ask) -> Iterator[Held]:
    """It is stopped, and knows nothing of its commit yet."""
    with _commits(runner, ask) as held:
        (worker,) = runner.processes(worker_of(runner, held.run))
        worker.suspend()
        held.let_go()
        count = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
        wait_until(
            "the commit to be done",
            lambda: runner.rows(SUPERUSER, count) == [(0,)] or "it waits",
        )
        yield Held(held.run, stopped=worker)


HOLDS: dict[str, Hold] = {
    "begins": _begins,
    "builds": _builds,
    "tests": _tests,
    "rehearses": _rehearses,
    "compares": _compares,
    "holds": _holds,
    "waits for a snapshot": _waits_for_a_snapshot,
    "waits for a lock": _waits_for_a_lock,
    "is inside the swap": _is_inside,
    "commits": _commits,
    "has committed": _has_committed,
}
"""In the order of a refresh. An undo has those from `waits for a lock` on."""


def worker_of(runner: Runner, run: Run) -> str:
    """Words in the command line of the run's worker."""
    return f"mage_dbt.dbt.process run {runner.home.runs / run.id}"


def until_step(runner: Runner, run: Run, step: Step) -> Run:
    """Waits until the run has come to this step."""

    def probe() -> Run | str:
        now = runner.client.run(run.id)
        assert not now.state.final, now.detail
        return now if any(one.step is step for one in now.refresh) else str(now.refresh[-1:])

    return wait_until(f"run {run.id} to come to {step}", probe)


@contextmanager
def old_snapshot(runner: Runner) -> Iterator[psycopg.Connection[Any]]:
    """A transaction whose snapshot is older than what begins in this block."""
    with closing(psycopg.connect(runner.url("dbt"))) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("set application_name = 'somebody old'")
        connection.commit()
        connection.execute("select 1")
        yield connection


@contextmanager
def _gate(runner: Runner, number: int) -> Iterator[None]:
    """Whoever comes to this advisory lock waits, until the block's end or `_open`."""
    with closing(runner.connect("dbt")) as connection:
        connection.execute(f"select pg_advisory_lock({number})".encode())
        yield


def _open(runner: Runner, number: int) -> None:
    _admin(
        runner,
        "select pg_terminate_backend(pid, 60000) from pg_locks"
        f" where locktype = 'advisory' and objid = {number} and granted",
    )


@contextmanager
def _locked(runner: Runner, table: str, mode: str) -> Iterator[None]:
    with closing(runner.connect("dbt")) as connection:
        connection.execute("set application_name = 'holder'")
        connection.execute(f"begin; lock table {table} in {mode} mode".encode())
        yield


def _end_holders(runner: Runner, table: str, mode: str) -> None:
    _admin(
        runner,
        "select pg_terminate_backend(pid, 60000) from pg_locks where locktype = 'relation'"
        f" and relation = to_regclass('{table}') and mode = '{mode}' and granted"
        " and pid in (select pid from pg_stat_activity where application_name = 'holder')",
    )


def _until_lock_waits(runner: Runner, run: Run, kind: str, relation: str = "") -> None:
    waiting = (
        "select pid from pg_locks where not granted and locktype = %s"
        " and (%s = '' or relation = to_regclass(%s))"
    )

    def probe() -> bool | str:
        if runner.query(waiting, kind, relation, relation):
            return True
        return _not_over(runner, run)

    wait_until(f"the worker to wait for a lock ({kind} {relation})", probe)


def _not_over(runner: Runner, run: Run) -> str:
    """How the run stands, which must not be over."""
    now = runner.client.run(run.id)
    assert not now.state.final, f"{now.state} {now.detail}"
    return f"{now.state}, {[step.step for step in now.refresh]}"


COMMITTING = "select pid from pg_stat_activity where wait_event = 'SyncRep' and usename = 'dbt'"


def until_commit_waits(runner: Runner, run: Run) -> int:
    """Waits until a commit of the run's waits; gives the process of its session."""

    def probe() -> int | str:
        found = runner.rows(SUPERUSER, COMMITTING)
        return int(found[0][0]) if found else _not_over(runner, run)

    return wait_until("a commit to wait", probe)


@contextmanager
def commits_can_wait(runner: Runner) -> Iterator[Callable[[], Callable[[], None]]]:
    """Gives what has commits of the role dbt wait, for a standby that never comes.

    That gives what lets them go. Such a commit is on the disk already, and nobody sees it yet. The
    others' commits, those of the ledger, never wait.
    """
    _admin(runner, "alter system set synchronous_commit = local")
    _admin(runner, f"alter role dbt in database {WAREHOUSE} set synchronous_commit = on")
    _admin(runner, "select pg_reload_conf()")

    def let_go() -> None:
        _stand_by(runner, "")

    def wait() -> Callable[[], None]:
        _stand_by(runner, "nobody")
        return let_go

    try:
        yield wait
    finally:
        let_go()
        _admin(runner, f"alter role dbt in database {WAREHOUSE} reset synchronous_commit")


def _stand_by(runner: Runner, name: str) -> None:
    """Sets who has to confirm commits, and waits until it holds."""
    _admin(runner, f"alter system set synchronous_standby_names = '{name}'")
    _admin(runner, "select pg_reload_conf()")
    if not name:
        return
    with closing(runner.connect(SUPERUSER, WAREHOUSE)) as tries:
        tries.execute("set synchronous_commit = on")
        pid, sent = tries.info.backend_pid, tries.pgconn

        def probe() -> bool | str:
            sent.consume_input()
            if not sent.is_busy():
                while sent.get_result():
                    pass
                sent.send_query(b"select pg_logical_emit_message(true, 'held', 'tries')")
            waits = "select wait_event from pg_stat_activity where pid = %s"
            found = runner.rows(SUPERUSER, waits, pid)
            return found == [("SyncRep",)] or str(found)

        wait_until("commits to wait", probe)


def _admin(runner: Runner, sql: str) -> None:
    with closing(runner.connect(SUPERUSER, WAREHOUSE)) as connection:
        connection.execute(sql.encode())
