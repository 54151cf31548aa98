"""`./scripts/bench --refresh`: full refreshes of one table while people read it.

Each contender has a table of its own with the same rows, the same views in two schemas, grants,
comments and an index. In each round every contender refreshes once, in an order that turns.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import secrets
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from mage_dbt.errors import WorkspaceError
from mage_dbt.launcher import supervisor
from mage_dbt.launcher.database_roles import WAREHOUSE
from mage_dbt.launcher.postgres import binaries
from mage_dbt.launcher.progress import Progress
from mage_dbt_bench.contender import BuildFailed
from mage_dbt_bench.project import Project, copy
from mage_dbt_bench.refresh import results
from mage_dbt_bench.refresh.by_hand import GUEST, SCHEMAS, ByHand
from mage_dbt_bench.refresh.contenders import Ours, Refresher, SqlMesh, Stock
from mage_dbt_bench.refresh.locks import LockWatch
from mage_dbt_bench.refresh.project import VERSIONS, generate_dbt
from mage_dbt_bench.refresh.readers import Readers, State, Watched
from mage_dbt_bench.refresh.results import Measured, Round
from mage_dbt_bench.sql_log import SqlLog
from mage_dbt_bench.stack import Stack
from mage_dbt_bench.usage import Moment

OURS, COMPARED, STOCK, SQLMESH = "ours", "ours_compared", results.STOCK, "sqlmesh"

ALL = (OURS, COMPARED, STOCK, SQLMESH)

PAUSE = 0.25
"""Seconds between two reads of one reader: counting a million rows takes a core, which the
contenders need."""

PAUSE_BESIDE_OLD = 1.5
"""The same beside old transactions: these readers are many, and stay. A swap waits for a moment in
which nobody reads for longer than its patience."""

BESIDE_SECONDS = 1.0
"""How long readers read before and after a refresh."""

OLD_SNAPSHOT_TIMES = 1.5
"""How much longer than stock's refresh a transaction that began before it stays open."""


class Refreshes:
    """Measures contenders; one that fails is left out, with the reason, and the others go on."""

    def __init__(self, stack: Stack, rows: int, progress: Progress) -> None:
        self._stack = stack
        self._rows = rows
        self._progress = progress
        self._log = SqlLog(stack.postgres_log)
        self._versions = itertools.count(1)
        self._now: dict[str, State] = {}
        self._guest = self._make_guest()
        self.measured: dict[str, Measured] = {}
        self.left_out: dict[str, str] = {}

    def prepare(self, contenders: Sequence[Refresher]) -> list[Refresher]:
        """Has each build its table, and makes on it what people make; gives those that did."""
        ready = []
        for contender in contenders:
            first = self._next()
            try:
                with self._progress.during(f"preparing {contender.name}"):
                    contender.prepare(first)
                    self._arrange(contender)
            except (BuildFailed, WorkspaceError, OSError, psycopg.Error) as error:
                self._leave_out(contender, error)
                continue
            self._now[contender.name] = first
            self.measured[contender.name] = Measured(contender.what)
            ready.append(contender)
            self._progress.say(f"{contender.name} is ready")
        return ready

    def rounds(self, contenders: Sequence[Refresher], repeats: int) -> None:
        """`repeats` rounds beside readers that never stay."""
        for number in range(repeats):
            at = number % max(1, len(contenders))
            for contender in (*contenders[at:], *contenders[:at]):
                if contender.name in self.left_out:
                    continue
                found = self._round(contender, None)
                if found:
                    self.measured[contender.name].rounds.append(found)
            self._progress.say(f"round {number + 1} of {repeats} is over")

    def beside_old(self, contenders: Sequence[Refresher]) -> None:
        """One more round each, beside whatever a refresh has to wait for."""
        base = self.measured[STOCK if STOCK in self.measured else contenders[0].name]
        longest = max((found.seconds for found in base.rounds), default=10.0)
        for contender in contenders:
            if contender.name in self.left_out:
                continue
            found = self._round(contender, OLD_SNAPSHOT_TIMES * longest)
            if found:
                self.measured[contender.name].beside_old.append(found)
        self._progress.say("the round beside old transactions is over")

    def _round(self, contender: Refresher, snapshot_seconds: float | None) -> Round | None:
        new, by_hand = self._next(), ByHand(contender.table)
        try:
            contender.get_ready()
            with self._superuser() as connection:
                there = by_hand.left(connection)
            readers = Readers(
                self._watched(by_hand),
                self._now[contender.name],
                pause=PAUSE if snapshot_seconds is None else PAUSE_BESIDE_OLD,
                snapshot_seconds=snapshot_seconds or 0.0,
                old_snapshots=snapshot_seconds is not None,
            )
            with (
                self._progress.during(f"{contender.name} refreshes"),
                readers,
                LockWatch(self._stack.superuser_url(), self._oids(by_hand)) as lock,
            ):
                _wait(BESIDE_SECONDS)
                self._log.mark()
                with readers.during(new):
                    refreshed = contender.refresh(new)
                _wait(BESIDE_SECONDS)
            if readers.now != new:
                raise BuildFailed(f"{contender.name}: the table holds {readers.now}, not {new}")
            with self._superuser() as connection:
                lost = there.without(by_hand.left(connection))
            self._arrange(contender)
        except (BuildFailed, WorkspaceError, OSError, psycopg.Error) as error:
            self._leave_out(contender, error)
            return None
        self._now[contender.name] = new
        built = refreshed.built
        created = self._log.created(contender.name)
        return Round(
            seconds=built.over - built.began,
            after_create=built.over - created if created else None,
            lock=lock.longest,
            own_lock=refreshed.lock_seconds,
            compare=refreshed.compare_seconds,
            wait=readers.longest_wait,
            reads=readers.reads,
            errors=readers.errors,
            wrong=readers.wrong,
            lost=lost,
            troubles=[str(trouble) for trouble in readers.troubles[: results.TROUBLES_KEPT]],
        )

    def _next(self) -> State:
        number = next(self._versions)
        return State.of(self._rows + number, number)

    def _arrange(self, contender: Refresher) -> None:
        with self._stack.warehouse() as connection:
            ByHand(contender.table).arrange(connection)

    def _oids(self, by_hand: ByHand) -> list[int]:
        names = [str(relation) for relation in (by_hand.table, *by_hand.views)]
        with self._superuser() as connection:
            query = "select to_regclass(name)::oid::bigint from unnest(%s::text[]) as name"
            rows = connection.execute(query, (names,)).fetchall()
        return [oid for (oid,) in rows if oid]

    def _watched(self, by_hand: ByHand) -> Watched:
        given = self._stack.warehouse_arguments()
        with self._superuser() as connection:
            is_table = by_hand.is_table(connection)
        return Watched(
            table=by_hand.table,
            views=by_hand.views,
            owner=_url(given["user"], given["password"], given["port"]),
            guest=_url(GUEST, self._guest, given["port"]),
            pg_dump=binaries() / "pg_dump",
            dumped=is_table,
        )

    def _make_guest(self) -> str:
        """A role for people who read; gives its password."""
        password, guest = secrets.token_hex(16), sql.Identifier(GUEST)
        database = sql.Identifier(WAREHOUSE)
        with self._superuser() as connection:
            make = sql.SQL("create role {} login password {}")
            connection.execute(make.format(guest, sql.Literal(password)))
            connection.execute(
                sql.SQL("grant connect on database {} to {}").format(database, guest)
            )
        with self._stack.warehouse() as connection:
            for schema in ("raw", *SCHEMAS):
                make = sql.SQL("create schema if not exists {}")
                connection.execute(make.format(sql.Identifier(schema)))
            columns = "(name text primary key, version integer, rows integer)"
            connection.execute(f"create table {VERSIONS} {columns}".encode())
        return password

    def _superuser(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._stack.superuser_url(), autocommit=True)

    def _leave_out(self, contender: Refresher, error: Exception) -> None:
        reason = str(error).strip()
        self.left_out[contender.name] = reason
        self._progress.say(f"{contender.name} is left out: {reason}")
        contender.close()


def measure(stack: Stack, options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """The whole report."""
    supervisor.LONGEST_DELAY = 1.0  # the runner is restarted on purpose, to change a setting
    began, before, load = datetime.now(UTC), Moment.now(), os.getloadavg()
    measuring = Refreshes(stack, options.rows, progress)
    contenders = _contenders(stack)
    if options.contenders:
        contenders = [found for found in contenders if found.name in options.contenders]
    ready = measuring.prepare(contenders)
    try:
        measuring.rounds(ready, options.repeats)
        if ready:
            measuring.beside_old(ready)
    finally:
        for contender in ready:
            contender.close()
    about = {
        "rows": options.rows,
        "rounds": options.repeats,
        "at": began.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - began).total_seconds() / 60, 1),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {name: version(name) for name in ("dbt-core", "dbt-postgres")},
        "beside": {
            "load_before": round(load[0], 1),
            "load_after": round(os.getloadavg()[0], 1),
            **Moment.now().since(before),
        },
    }
    return results.to_json(measuring.measured, about, measuring.left_out)


def project(folder: Path) -> Project:
    """The dbt project of every contender that uses dbt."""
    return generate_dbt(folder, (OURS, COMPARED, STOCK))


def _contenders(stack: Stack) -> list[Refresher]:
    root = stack.home.root
    return [
        Stock(STOCK, stack, copy(stack.project.folder, root / STOCK)),
        Ours(OURS, stack, compares=False),
        Ours(COMPARED, stack, compares=True),
        SqlMesh(SQLMESH, stack, root / "sqlmesh-project"),
    ]


def _url(user: str, password: str, port: str) -> str:
    return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{port}/{WAREHOUSE}"


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)
