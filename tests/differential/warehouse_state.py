"""All that stands in a warehouse, read from PostgreSQL's own catalogue, for comparing two of them.

What cannot be the same twice is put in a form that can:

- dbt-postgres names an index by a hash of its columns and of the time: the name is left out;
- a snapshot by `check`, and rows that are gone, are dated with the time of the run, and their key
  is a hash of it: times of the last day are told as first, second, third … of their table, and such
  keys as how many different ones there are.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

WarehouseState = dict[str, Any]
"""By the name of a thing and what of it: `relation analytics.orders`, `rows analytics.orders`."""

OURS = "not nspname like any (array['pg\\_%', 'information_schema'])"

CATALOGUE = {
    "relation": f"""
        select nspname || '.' || relname, relkind::text, relpersistence::text,
            pg_get_userbyid(relowner), reloptions::text, relacl::text,
            obj_description(c.oid, 'pg_class')
        from pg_class as c join pg_namespace as n on n.oid = relnamespace
        where {OURS} and relkind <> 'i'
    """,
    "columns": f"""
        select nspname || '.' || relname, json_agg(json_build_array(
            attname, format_type(atttypid, atttypmod), attnotnull, attacl::text,
            pg_get_expr(adbin, adrelid), col_description(c.oid, attnum)) order by attnum)::text
        from pg_class as c join pg_namespace as n on n.oid = relnamespace
        join pg_attribute on attrelid = c.oid and attnum > 0 and not attisdropped
        left join pg_attrdef on adrelid = c.oid and adnum = attnum
        where {OURS} and relkind <> 'i' group by 1
    """,
    "indexes": f"""
        select nspname || '.' || t.relname, array_agg(
            regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ON', 'INDEX ON') order by
            regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ON', 'INDEX ON'))
        from pg_index join pg_class as t on t.oid = indrelid
        join pg_namespace as n on n.oid = relnamespace where {OURS} group by 1
    """,
    "constraints": f"""
        select nspname || '.' || relname || ' ' || conname, pg_get_constraintdef(k.oid)
        from pg_constraint as k join pg_class as c on c.oid = conrelid
        join pg_namespace as n on n.oid = relnamespace where {OURS}
    """,
    "definition": f"""
        select nspname || '.' || relname, pg_get_viewdef(c.oid)
        from pg_class as c join pg_namespace as n on n.oid = relnamespace
        where {OURS} and relkind in ('v', 'm')
    """,
    "schema": f"""
        select nspname, pg_get_userbyid(nspowner), nspacl::text
        from pg_namespace where {OURS}
    """,
    "function": f"""
        select nspname || '.' || p.oid::regprocedure, pg_get_functiondef(p.oid), proacl::text
        from pg_proc as p join pg_namespace as n on n.oid = pronamespace where {OURS}
    """,
}

TABLES = f"""
    select nspname, relname from pg_class as c join pg_namespace as n on n.oid = relnamespace
    where {OURS} and relkind in ('r', 'p', 'v', 'm') order by 1, 2
"""

HASH_OF_A_TIME = re.compile(r"dbt_scd_id|invocation")
"""Columns whose values are hashes of a time, or an id of the run."""


def read(url: str) -> WarehouseState:
    """What stands in the database now."""
    found: WarehouseState = {}
    with psycopg.connect(url, autocommit=True) as connection:
        for what, query in CATALOGUE.items():
            for name, *facts in connection.execute(query.encode()):
                found[f"{what} {name}"] = facts
        for schema, table in connection.execute(TABLES.encode()).fetchall():
            found[f"rows {schema}.{table}"] = _rows(connection, schema, table)
    return found


def _rows(connection: psycopg.Connection[Any], schema: str, table: str) -> list[str]:
    try:
        cursor = connection.execute(
            sql.SQL("select * from {}").format(sql.Identifier(schema, table))
        )
    except psycopg.Error as error:  # a view that divides by zero
        return [str(error)]
    names = [one.name for one in cursor.description or ()]
    rows = cursor.fetchall()
    times = sorted({value for row in rows for value in row if _is_recent(value)})
    told = []
    for row in rows:
        values = []
        for name, value in zip(names, row, strict=True):
            if HASH_OF_A_TIME.search(name):
                value = "a hash"
            elif _is_recent(value):
                value = f"time {times.index(value) + 1} of {len(times)}"
            values.append(value)
        told.append(repr(values))
    hashes = [
        f"{len({row[at] for row in rows})} different values of {name}"
        for at, name in enumerate(names)
        if HASH_OF_A_TIME.search(name)
    ]
    return [*hashes, *sorted(told)]


def _is_recent(value: Any) -> bool:
    if not isinstance(value, datetime):
        return False
    now = datetime.now(value.tzinfo) if value.tzinfo else datetime.now(UTC).replace(tzinfo=None)
    return abs(now - value) < timedelta(days=1)
