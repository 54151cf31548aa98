"""What is PostgreSQL's own about a run: which views fall when a table is dropped, rows it guesses.

dbt-postgres drops a replaced table with CASCADE, so views that depend on it are gone, in other
schemas too, and dbt does not rebuild them. Other warehouses keep such views; they answer nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Query = Callable[[str], list[dict[str, Any]]]

DEPENDENTS = """
with recursive dropped as (
    select to_regclass(name)::oid as oid from (values {names}) as given (name)
    where to_regclass(name) is not null
), fallen as (
    select oid, 0 as depth from dropped
    union
    select rule.ev_class, fallen.depth + 1
    from fallen
    join pg_depend on pg_depend.refobjid = fallen.oid
        and pg_depend.refclassid = 'pg_class'::regclass
    join pg_rewrite as rule on rule.oid = pg_depend.objid
        and pg_depend.classid = 'pg_rewrite'::regclass
    where rule.ev_class <> fallen.oid and fallen.depth < 50
)
select distinct space.nspname as schema_name, class.relname as view_name
from fallen
join pg_class as class on class.oid = fallen.oid and class.relkind in ('v', 'm')
join pg_namespace as space on space.oid = class.relnamespace
where fallen.depth > 0
order by 1, 2
"""


ROWS = """
select space.nspname as schema_name, class.relname as table_name,
    class.reltuples::bigint as row_estimate
from (values {names}) as given (name)
join pg_class as class on class.oid = to_regclass(given.name)
join pg_namespace as space on space.oid = class.relnamespace
where class.relkind in ('r', 'm', 'p') and class.reltuples >= 0
"""


def row_estimates(query: Query, planned: Iterable[Any]) -> dict[str, int]:
    """By unique id, the rows PostgreSQL thinks a node's relation has (`pg_class.reltuples`).

    Nothing for a view, a table that is not there, and one that was never analyzed.
    """
    nodes = [node for node in planned if getattr(node, "relation_name", None)]
    names = ", ".join(f"({_literal(node.schema, node.alias)})" for node in nodes)
    if not nodes or "{" in names:
        return {}
    found = {
        (row["schema_name"], row["table_name"]): int(row["row_estimate"])
        for row in query(ROWS.format(names=names))
    }
    return {
        node.unique_id: found[node.schema, node.alias]
        for node in nodes
        if (node.schema, node.alias) in found
    }


def lost_dependents(
    query: Query, planned: Iterable[Any], drops: Callable[[Any], bool]
) -> list[str]:
    """Views, as `schema.name`, that the plan's drops take along and nothing rebuilds.

    `planned` are dbt's nodes; `drops` says which of them drop their old table.
    """
    nodes = [node for node in planned if getattr(node, "relation_name", None)]
    dropped = [node for node in nodes if drops(node)]
    if not dropped or not all(node.relation_name.count('"') >= 4 for node in dropped):
        return []
    names = ", ".join(f"({_literal(node.schema, node.alias)})" for node in dropped)
    if "{" in names:  # dbt renders the query as a template; a name with a brace cannot be asked for
        return []
    rebuilt = {(node.schema, node.alias) for node in nodes}
    return [
        f"{row['schema_name']}.{row['view_name']}"
        for row in query(DEPENDENTS.format(names=names))
        if (row["schema_name"], row["view_name"]) not in rebuilt
    ]


def _literal(schema: str, name: str) -> str:
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))
    return "'" + quoted.replace("'", "''") + "'"
