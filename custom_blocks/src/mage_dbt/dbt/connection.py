"""A connection beside dbt's own, opened as dbt opens its connections."""

from __future__ import annotations

import select
from typing import Any

import psycopg2.extensions
from dbt.adapters.contracts.connection import Connection
from dbt.adapters.postgres.connections import PostgresConnectionManager


class Interrupted(Exception):
    """A statement was cancelled, because this process was interrupted."""


def open_connection(credentials: Any) -> Any:
    """A connection with these credentials, the profile's role and search path included.

    Raises dbt's FailedToConnectError.
    """
    handle = PostgresConnectionManager.open(
        Connection(type="postgres", name="refresh", credentials=credentials)
    ).handle
    handle.commit()  # keeps the role, which dbt sets in a transaction
    # dbt's sessions repeat statements after a savepoint; here every transaction is one try.
    handle.cursor_factory = psycopg2.extensions.cursor
    return handle


def let_interrupts_through() -> None:
    """From now on an interrupt cancels the statement at work, in every connection of this process.

    Otherwise libpq would wait for the statement's end first. dbt must have ended: its threads use
    connections in another way.
    """
    psycopg2.extensions.set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    """Waits for the server; on an interrupt for the end of the cancelled statement, too."""
    interrupted = False
    while True:
        try:
            state = connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                break
            if state == psycopg2.extensions.POLL_READ:
                select.select([connection.fileno()], [], [])
            elif state == psycopg2.extensions.POLL_WRITE:
                select.select([], [connection.fileno()], [])
            else:
                raise psycopg2.OperationalError(f"the connection is in state {state}")
        except KeyboardInterrupt:
            interrupted = True
            connection.cancel()
        except psycopg2.errors.QueryCanceled as error:
            if interrupted:
                raise Interrupted(str(error).strip()) from error
            raise
    if interrupted:
        raise Interrupted("The statement had ended when the interrupt came.")
