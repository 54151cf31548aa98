"""How a run's sessions behave in PostgreSQL, also behind a pooler, a role, or with other writers.

Everything is set after connecting. A pooler refuses startup parameters that it does not know, and
libpq ignores PGOPTIONS as soon as dbt passes its own options (`search_path:` in the profile).
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import Any

import psycopg2
import psycopg2.extensions
from dbt.adapters.contracts.connection import Connection, ConnectionState
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.exceptions.connection import FailedToConnectError
from dbt.adapters.postgres.connections import PostgresConnectionManager
from dbt.clients.jinja import MacroGenerator
from dbt_common.events.contextvars import get_node_info
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR

from mage_dbt.dbt.results.failures import note_error
from mage_dbt.dbt.results.hidden_columns import hidden_from
from mage_dbt.dbt.sessions import names
from mage_dbt.model.failure import CONNECTION_LOST, sqlstate_of_refusal
from mage_dbt.warehouse.details import without_copied_line, without_hidden

RUNS_HOOKS = "run_hooks"
"""dbt's macro, in `materializations/hooks.sql`."""

CHECK_MILLISECONDS = 1000
"""How often PostgreSQL looks for the client of a long query (measured: a killed worker's query is
gone after 0.7 s, against more than 8 s without). From version 14 on, and not on every system."""

CHECKS_SINCE = 140_000

END_SECONDS = 1.5
"""How long sessions may take to end before some count as left."""

POLL_SECONDS = 0.05

TRIES = 6
"""How often a statement that collides in PostgreSQL's catalogs is tried."""

TRY_AGAIN_SECONDS = (0.02, 0.3)
"""Shortest and longest time between two tries."""

SHARED = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:grant|revoke|comment|alter|"
    r"create\s+or\s+replace|create\s+(?:\w+\s+){1,2}?if\s+not\s+exists)\b",
    re.IGNORECASE | re.DOTALL,
)
"""Statements on what other sessions may change at the same moment. That is rights on a schema, a
schema or function that every run makes, or the new table's name while somebody grants on all
tables. Others get no savepoint, which takes two more trips to the server."""

logger = AdapterLogger("Postgres")


class CannotTell(Exception):
    """The server does not say whose its sessions are; the text says why."""


class PatientCursor(psycopg2.extensions.cursor):  # type: ignore[misc]
    """Repeats a statement that lost a race for a row of PostgreSQL's own catalogs.

    `create schema if not exists` fails when another session has just made the schema, `grant` when
    another has just granted. A statement alone in its transaction is repeated in any case. Within a
    transaction only those of SHARED are, after a savepoint.
    """

    def execute(self, query: Any, vars: Any = None) -> Any:
        try:
            return self._patiently(query, vars)
        except psycopg2.Error as error:
            _note(error, bool(self.connection.closed), query)
            _hide_values(error)
            raise

    def _patiently(self, query: Any, vars: Any) -> Any:
        alone = self.connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        if not alone and not (isinstance(query, str) and SHARED.match(query)):
            return super().execute(query, vars)
        for _ in range(TRIES - 1):
            try:
                with _restored_on_error(self.connection, alone):
                    return super().execute(query, vars)
            except psycopg2.Error as error:
                if not collided(error):
                    raise
                logger.debug(f"Another session changed the same in the catalog; again: {error}")
                time.sleep(random.uniform(*TRY_AGAIN_SECONDS))
        return super().execute(query, vars)


@contextmanager
def _restored_on_error(connection: Any, alone: bool) -> Iterator[None]:
    """After an error in this block the transaction is where it was before."""
    if alone:
        try:
            yield
        except psycopg2.Error:
            # dbt ends transactions by its own statement. Then none is open, and psycopg2 must not
            # begin one.
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
    """Whether two sessions wanted the same row of a catalog.

    PostgreSQL never translates the second message: it is an internal error.
    """
    if error.pgcode == "23505":
        return bool(error.diag.schema_name == "pg_catalog")
    message = str(error.diag.message_primary or "")
    return error.pgcode == "XX000" and message.startswith("tuple concurrently ")


def _note(error: psycopg2.Error, closed: bool, query: Any) -> None:
    """Keeps the error for the result of the node at work: dbt's own holds only its text.

    What libpq says by itself has no SQLSTATE, and is the same in any language of the server's.
    """
    lost = CONNECTION_LOST if closed else ""
    primary = error.diag.message_primary or str(error).strip()
    node = _node()
    hook = str(query) if node.startswith("operation.") or _in_a_hook() else ""
    note_error(node, error.pgcode or lost, primary, hook)


def _in_a_hook() -> bool:
    """Whether dbt's macro for a node's hooks sends the statement: dbt's error does not tell."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        macro = frame.f_locals.get("self")
        if isinstance(macro, MacroGenerator) and macro.get_name() == RUNS_HOOKS:
            return True
        frame = frame.f_back
    return False


def _hide_values(error: psycopg2.Error) -> None:
    """Takes values of hidden columns out of the error's text, of which dbt makes all that it says:
    its exception, its events and its log."""
    state, whole = error.pgcode or "", str(error)
    shown = whole
    if detail := error.diag.message_detail:
        shown = shown.replace(detail, without_hidden(detail, state, hidden_from(_node())))
    if context := error.diag.context:
        shown = shown.replace(context, without_copied_line(context, state))
    if shown != whole:
        error.args = (shown,)


def _node() -> str:
    """The node for which this thread is at work, a hook included; empty for none."""
    return str((get_node_info() or {}).get("unique_id", ""))


def arrange(run_name: str) -> None:
    """Prepares every session that dbt opens in this process from now on. Call it once.

    `run_name` is the beginning of the names of the run's sessions.
    """
    opened = PostgresConnectionManager.open.__func__

    def open_connection(cls: type[Any], connection: Any) -> Any:
        try:
            done = opened(cls, connection)
        except FailedToConnectError as error:
            note_error(_node(), sqlstate_of_refusal(error.msg), error.msg)
            raise
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
    """As dbt's own, but as the login, and by the sessions' names.

    dbt's own asks over a session with the profile's `role`, which may not end the login's. And it
    asks for a process number, which a pooler makes up.
    """
    this = manager.get_if_exists()
    with manager.lock:
        connections = manager.thread_connections.values()
        others = [connection for connection in connections if connection is not this]
    opened = [other for other in others if other.state == ConnectionState.OPEN and other.handle]
    if opened:
        try:
            left = bool(end_sessions(manager.profile.credentials, run_name))
        except Exception as error:
            logger.debug(f"The sessions of this run could not be ended: {error}")
            left = True
        names.left_behind = left
        if left:
            for other in opened:
                with suppress(psycopg2.Error):
                    other.handle.cancel()  # needs no right, and at least ends the statement
    return [other.name for other in others if other.name is not None]


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
    """Ends the run's sessions; returns how many are still there after END_SECONDS.

    It asks as the login, without the profile's `role`: sessions are the login's. Raises CannotTell,
    or dbt's FailedToConnectError.
    """
    name = f"mage-dbt looks for {run_name.split()[-1]}"[: names.LONGEST_NAME]
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
            time.sleep(POLL_SECONDS)
        return len(left)
    finally:
        handle.close()


def _left(handle: Any, name: str, run_name: str) -> list[int]:
    """The run's sessions. One transaction asks: a pooler keeps one session for that."""
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
