"""The rows that a query finds, as text, of a PostgreSQL warehouse: read only, and for some seconds.

The server writes each value as text, as its JSON has it, so every type can be shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql

from mage_dbt.warehouse.session import Session

LONGEST_READ = 2_000
"""Characters of a value that are read; fewer are shown, after secrets were taken out."""

MOST_DIGESTS = 1_000
"""Rows of which the digest is kept, to tell next time which rows are new."""

LOCK_SECONDS = 1

HIDDEN = "•"
"""Stands for any value of a hidden column, NULL included."""

ROWS = """
select
    pg_catalog.encode(
        pg_catalog.sha256(
            pg_catalog.convert_to(
                {salt} || (pg_catalog.to_jsonb(mage_dbt_row) - {hidden}::text[])::text, 'UTF8'
            )
        ),
        'hex'
    ) as digest,
    case when pg_catalog.row_number() over () <= {shown} then array(
        select
            case
                when cell.key = any({hidden}::text[]) then {mark}
                else pg_catalog.left(cell.value, {longest})
            end
        from pg_catalog.json_each_text(pg_catalog.row_to_json(mage_dbt_row)) as cell
    ) end as cells
from (
{query}
) as mage_dbt_row
limit {most}
"""
"""The digest depends neither on the order of the columns nor on hidden values: low numbers could
be guessed from it."""

COLUMNS = """
select * from (
{query}
) as mage_dbt_row
limit 0
"""


@dataclass(frozen=True)
class FoundRows:
    """What a query finds."""

    columns: tuple[str, ...]
    hidden: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    digests: tuple[str, ...]
    """Of each row, those of `rows` first: 16 hexadecimal digits."""


class OutOfTime(Exception):
    """All the time for all queries is over."""


class RowReader:
    """Reads rows over one session, for at most so many seconds in all."""

    def __init__(self, session: Session, role: str, seconds: float, of_one: float) -> None:
        """`role` is what the session reads as; empty for its own. `of_one` is the most that one
        query may take, of `seconds` for all."""
        self._session = session
        self._role = role
        self._of_one = of_one
        self._deadline = time.monotonic() + seconds

    def read(
        self, query: str, salt: str, shown: int, hides: Callable[[Sequence[str]], Sequence[str]]
    ) -> FoundRows:
        """The query's first rows. `hides` gives those of its columns that are hidden.

        Equal rows of queries with another `salt` have another digest. Raises psycopg2.Error, or
        OutOfTime.
        """
        with self._session.transaction():
            self._session.execute("set transaction read only")
            self._session.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
            if self._role:
                self._session.execute(
                    sql.SQL("set local role {}").format(sql.Identifier(self._role))
                )
            self._limit()
            columns = self._session.columns(_with(COLUMNS, query))
            hidden = list(hides(columns))
            self._limit()
            statement = _with(
                ROWS,
                query,
                salt=sql.Literal(salt),
                hidden=sql.Literal(hidden),
                shown=sql.Literal(shown),
                mark=sql.Literal(HIDDEN),
                longest=sql.Literal(LONGEST_READ),
                most=sql.Literal(MOST_DIGESTS),
            )
            found = self._session.rows(statement)
        return FoundRows(
            tuple(columns),
            tuple(hidden),
            tuple(tuple(row["cells"]) for row in found if row["cells"] is not None),
            tuple(row["digest"][:16] for row in found),
        )

    def _limit(self) -> None:
        left = min(self._of_one, self._deadline - time.monotonic())
        if left <= 0:
            raise OutOfTime
        self._session.execute(f"set local statement_timeout = {max(1, round(left * 1000))}")


def _with(statement: str, query: str, **parts: sql.Composable) -> sql.Composable:
    return sql.SQL(statement).format(query=sql.SQL(query), **parts)


def unreadable(error: psycopg2.Error) -> bool:
    """Whether the session is of no use any more."""
    return isinstance(error, (psycopg2.InterfaceError, psycopg2.OperationalError)) and not (
        error.pgcode
    )
