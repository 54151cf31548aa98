"""The columns that a query gives, without running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg2

from mage_dbt.model.refresh import ColumnChange
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.session import Session, words

COLUMNS = """
select attribute.attname::text as name,
    pg_catalog.format_type(attribute.atttypid, attribute.atttypmod) as type
from pg_catalog.pg_attribute as attribute
where attribute.attrelid = {relation}::regclass and attribute.attnum > 0
order by attribute.attnum
"""

OF_TABLE = """
select attribute.attname::text as name,
    pg_catalog.format_type(attribute.atttypid, attribute.atttypmod) as type
from pg_catalog.pg_class as class
join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
join pg_catalog.pg_attribute as attribute on attribute.attrelid = class.oid
where space.nspname = %(schema)s and class.relname = %(name)s and class.relkind in ('r', 'p')
    and attribute.attnum > 0 and not attribute.attisdropped
order by attribute.attnum
"""

NOT_ALLOWED = "42501"
"""insufficient_privilege"""


class CannotTell(Exception):
    """The columns of a query are not known before it runs; the text says why."""


class _Done(Exception):
    """Rolls back what was made to look at it."""


def of_query(session: Session, sql: str) -> list[tuple[str, str]]:
    """Name and type of each column, as the server writes the type. Raises CannotTell.

    Nothing runs: the server makes a view, which is rolled back. A role that may make no temporary
    one makes it in a schema, which is rolled back too.
    """
    try:
        return _of_view(session, sql, "create temporary view mage_dbt_columns", "mage_dbt_columns")
    except psycopg2.Error as error:
        if error.pgcode != NOT_ALLOWED:
            raise CannotTell(words(error)) from error
    name = "mage_dbt_columns.mage_dbt_columns"
    try:
        return _of_view(session, sql, f"create schema mage_dbt_columns; create view {name}", name)
    except psycopg2.Error as error:
        raise CannotTell(words(error)) from error


def of_queries(session: Session, sql: str, views: Mapping[str, str]) -> list[tuple[str, str]]:
    """The same of a query that reads these temporary views, by name; they are rolled back too."""
    try:
        with session.transaction():
            for name, query in views.items():
                session.execute(f"create temporary view {name} as (\n{query}\n)")
            session.execute(f"create temporary view mage_dbt_columns as (\n{sql}\n)")
            rows = session.rows(COLUMNS.format(relation="'mage_dbt_columns'"))
            raise _Done
    except _Done:
        return [(row["name"], row["type"]) for row in rows]
    except psycopg2.Error as error:
        raise CannotTell(words(error)) from error


def of_table(session: Session, name: Name) -> list[tuple[str, str]]:
    """The columns of the table that stands there; none when it is no table."""
    rows = session.rows(OF_TABLE, {"schema": name.schema, "name": name.name})
    return [(row["name"], row["type"]) for row in rows]


def _of_view(session: Session, sql: str, create: str, name: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    try:
        with session.transaction():
            session.execute(f"{create} as (\n{sql}\n)")
            rows = session.rows(COLUMNS.format(relation=f"'{name}'"))
            found += [(row["name"], row["type"]) for row in rows]
            raise _Done
    except _Done:
        return found


def changes(
    before: Sequence[tuple[str, str]], after: Sequence[tuple[str, str]]
) -> tuple[ColumnChange, ...]:
    """Columns added, removed and changed in type, in this order."""
    was, becomes = dict(before), dict(after)
    return (
        *(ColumnChange(name, "", kind) for name, kind in after if name not in was),
        *(ColumnChange(name, kind, "") for name, kind in before if name not in becomes),
        *(
            ColumnChange(name, kind, becomes[name])
            for name, kind in before
            if name in becomes and becomes[name] != kind
        ),
    )
