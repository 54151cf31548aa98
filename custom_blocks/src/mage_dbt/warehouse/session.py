"""A PostgreSQL session of our own: statements by themselves, or together in a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2

from mage_dbt.warehouse.details import without_hidden

IDLE, FAILED = 0, 3
"""libpq's PQTRANS_IDLE and PQTRANS_INERROR."""

Statement = Any
"""Text, or a Composable of psycopg2's."""

Values = Sequence[Any] | Mapping[str, Any] | None


class Session:
    """A psycopg2 connection. Outside of `transaction` every statement commits by itself."""

    def __init__(self, connection: Any) -> None:
        connection.rollback()
        connection.autocommit = True
        self._connection = connection

    @property
    def ended(self) -> bool:
        """Whether the server, or somebody, has ended the session."""
        return bool(self._connection.closed)

    def rows(self, sql: Statement, values: Values = None) -> list[dict[str, Any]]:
        """The statement's rows, by column."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def columns(self, sql: Statement) -> list[str]:
        """The names of the statement's columns; two may have one name."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return [column.name for column in cursor.description]

    def execute(self, sql: Statement, values: Values = None) -> None:
        """Runs a statement that gives no rows. Without values, `%` is a percent sign."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements of this block commit together, or not at all."""
        self.execute("begin")
        try:
            yield
        except BaseException:
            # psycopg2's own rollback() does nothing in autocommit. A session that has ended has
            # rolled back by itself.
            with suppress(psycopg2.Error):
                self.execute("rollback")
            raise
        self.execute("commit")

    @contextmanager
    def qualified(self) -> Iterator[None]:
        """In this block the server writes every name with its schema, and finds no other.

        A definition that it writes so means the same under any search_path. The block is one
        transaction, or a part of it: a connection pool may give the next to another session.
        """
        if self._status == IDLE:
            with self.transaction(), self.qualified():
                yield
            return
        path = self.rows("select pg_catalog.current_setting('search_path') as path")[0]["path"]
        self._search("")
        yield
        # A failed transaction takes no statement, and its end takes back the setting.
        if self._status != FAILED:
            self._search(path)

    @property
    def _status(self) -> int:
        return int(self._connection.info.transaction_status)

    def _search(self, path: str) -> None:
        self.rows("select pg_catalog.set_config('search_path', %s, true)", (path,))


def words(error: psycopg2.Error) -> str:
    """What the server says, on one line: the message with its detail, which quotes no values."""
    detail = without_hidden(error.diag.message_detail or "", error.pgcode or "", lambda _: True)
    texts = (error.diag.message_primary or str(error), detail)
    return " ".join(" ".join(text.split()) for text in texts if text)
