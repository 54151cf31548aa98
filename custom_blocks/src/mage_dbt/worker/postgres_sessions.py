"""How a run's sessions behave in PostgreSQL, whatever stands before it: a pooler, a role, a cluster
that many write to.

Everything is set after connecting. A pooler refuses startup parameters that it does not know, and
libpq ignores PGOPTIONS as soon as dbt passes options of its own (`search_path:` in the profile).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg2
import psycopg2.extensions
from dbt.adapters.contracts.connection import Connection, ConnectionState
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.postgres.connections import PostgresConnectionManager
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR

from mage_dbt.worker import server_errors, session_names

CHECK_MILLISECONDS = 1000
"""How often PostgreSQL looks for the client of a long query (measured: a killed worker's query is
gone after 0.7 s, against more than 8 s without). From version 14 on, and not on every system."""

CHECKS_SINCE = 140_000

END_SECONDS = 1.5
"""From asking sessions to end until it is said that some have not."""

LOOK_SECONDS = 0.05

TRIES = 6
"""Of a statement that collides in PostgreSQL's catalogs."""

TRY_AGAIN_SECONDS = (0.02, 0.3)

SHARED = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:grant|revoke|comment|alter|"
    r"create\s+or\s+replace|create\s+(?:\w+\s+){1,2}?if\s+not\s+exists)\b",
    re.IGNORECASE | re.DOTALL,
)
"""Statements on what other sessions may be changing at the same moment: rights on a schema, a
schema or function that every run makes, the new table's name while somebody grants on all tables.
Others get no savepoint, which takes two more trips to the server."""

logger = AdapterLogger("Postgres")


class CannotTell(Exception):
    """The server does not say whose its sessions are; the text says why."""


class PatientCursor(psycopg2.extensions.cursor):  # type: ignore[misc]
    """Does a statement again that lost a race for a row of PostgreSQL's own catalogs.

    `create schema if not exists` fails so when another session has just made the schema, `grant`
    when another has just granted. Alone in its transaction any statement is done again; in the
    middle of one only those of SHARED, after a savepoint.
    """

    def execute(self, query: Any, vars: Any = None) -> Any:
        try:
            return self._patiently(query, vars)
        except psycopg2.Error as error:
            server_errors.note(error.pgcode, error.diag.message_primary)
            raise

    def _patiently(self, query: Any, vars: Any) -> Any:
        alone = self.connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        if not alone and not (isinstance(query, str) and SHARED.match(query)):
            return super().execute(query, vars)
        for _ in range(TRIES - 1):
            try:
                with _as_it_was(self.connection, alone):
                    return super().execute(query, vars)
            except psycopg2.Error as error:
                if not collided(error):
                    raise
                logger.debug(f"Another session changed the same in the catalog; again: {error}")
                time.sleep(random.uniform(*TRY_AGAIN_SECONDS))
        return super().execute(query, vars)


@contextmanager
def _as_it_was(connection: Any, alone: bool) -> Iterator[None]:
    """After an error the transaction is where it was before."""
    if alone:
        try:
            yield
        except psycopg2.Error:
            # dbt ends transactions by a statement of its own; then none is open, and psycopg2 must
            # not be told to begin one.
            if connection.info.transaction_status == TRANSACTION_STATUS_INERROR:
                connection.rollback()
            raise
        return
    with connection.cursor(cursor_factory=psycopg2.extensions.cursor) as beside:
        beside.execute("savepoint mage_dbt")
        try:
            yield
        except psycopg2.Error as error:
            if collided(error):
                beside.execute("rollback to savepoint mage_dbt")
            raise
        beside.execute("release savepoint mage_dbt")


def collided(error: psycopg2.Error) -> bool:
    """Whether two sessions wanted the same row of a catalog. The second message is never
    translated: it is one that the server does not expect to give."""
    if error.pgcode == "23505":
        return bool(error.diag.schema_name == "pg_catalog")
    message = str(error.diag.message_primary or "")
    return error.pgcode == "XX000" and message.startswith("tuple concurrently ")


def arrange(run_name: str) -> None:
    """From now on, for every session that dbt opens in this process, once.

    `run_name` is how the names of the run's sessions begin.
    """
    opened = PostgresConnectionManager.open.__func__

    def open_connection(cls: type[Any], connection: Any) -> Any:
        done = opened(cls, connection)
        if done.handle is not None and done.handle.cursor_factory is not PatientCursor:
            _prepare(done.handle)
        return done

    def cancel_open(manager: Any) -> list[str]:
        return _cancel_open(manager, run_name)

    PostgresConnectionManager.open = classmethod(open_connection)
    PostgresConnectionManager.cancel_open = cancel_open


def _prepare(handle: Any) -> None:
    handle.cursor_factory = PatientCursor
    if handle.info.server_version < CHECKS_SINCE:
        return
    check = f"set client_connection_check_interval = {CHECK_MILLISECONDS}"
    with handle.cursor() as cursor:
        if handle.info.transaction_status != TRANSACTION_STATUS_IDLE:
            try:  # within dbt's first transaction, which has set the profile's role
                cursor.execute(f"savepoint mage_dbt; {check}; release savepoint mage_dbt")
            except psycopg2.Error:  # a system that cannot check
                cursor.execute("rollback to savepoint mage_dbt")
            return
        before, handle.autocommit = handle.autocommit, True
        with suppress(psycopg2.Error):
            cursor.execute(check)
        handle.autocommit = before


def _cancel_open(manager: Any, run_name: str) -> list[str]:
    """As dbt's own, which asks over a session with the profile's `role`, that may not end those of
    the login, and for the process number that a pooler made up."""
    this = manager.get_if_exists()
    with manager.lock:
        others = [one for one in manager.thread_connections.values() if one is not this]
    open_ones = [one for one in others if one.state == ConnectionState.OPEN and one.handle]
    if open_ones:
        try:
            left = bool(end_sessions(manager.profile.credentials, run_name))
        except Exception as error:
            logger.debug(f"The sessions of this run could not be ended: {error}")
            left = True
        session_names.left_behind = left
        if left:
            for one in open_ones:
                with suppress(psycopg2.Error):
                    one.handle.cancel()  # needs no right, and ends the statement at least
    return [one.name for one in others if one.name is not None]


NAME = "select pg_catalog.set_config('application_name', %s, true)"

SEEN = """
select application_name from pg_catalog.pg_stat_activity where pid = pg_catalog.pg_backend_pid()
"""

LEFT = """
select pid from pg_catalog.pg_stat_activity
where pg_catalog.left(application_name, %(length)s) = %(name)s
    and pid <> pg_catalog.pg_backend_pid()
"""


def end_sessions(credentials: Any, run_name: str) -> int:
    """Ends the run's sessions, all but the one that asks; gives how many are still there after
    END_SECONDS.

    As the login, without the profile's `role`: sessions are the login's. Raises CannotTell, or
    dbt's FailedToConnectError.
    """
    name = f"mage-dbt looks for {run_name.split()[-1]}"[: session_names.LONGEST_NAME]
    without_role = replace(credentials, role=None, search_path=None, retries=0)
    handle = PostgresConnectionManager.open(
        Connection(type="postgres", name="sessions", credentials=without_role)
    ).handle
    deadline = time.monotonic() + END_SECONDS
    try:
        while left := _left(handle, name, run_name):
            if time.monotonic() > deadline:
                break
            for pid in left:
                with suppress(psycopg2.Error), handle.cursor() as cursor:
                    cursor.execute("select pg_catalog.pg_terminate_backend(%s)", [pid])
                handle.rollback()
            time.sleep(LOOK_SECONDS)
        return len(left)
    finally:
        handle.close()


def _left(handle: Any, name: str, run_name: str) -> list[int]:
    """The run's sessions, in one transaction, for which a pooler keeps one session."""
    try:
        with handle.cursor() as cursor:
            cursor.execute(NAME, [name])
            cursor.execute(SEEN)
            if cursor.fetchone() != (name,):
                raise CannotTell("pg_stat_activity does not show the names of sessions")
            cursor.execute(LEFT, {"name": run_name, "length": len(run_name)})
            return [pid for (pid,) in cursor.fetchall()]
    except psycopg2.OperationalError:
        raise
    except psycopg2.Error as error:
        raise CannotTell(str(error).strip()) from None
    finally:
        with suppress(psycopg2.Error):
            handle.rollback()
