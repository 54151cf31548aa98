"""What people have made on the table: views, grants, comments, an index; and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from mage_dbt_bench.refresh.readers import Relation

GUEST = "guest"
"""A role that may read the views alone."""

SCHEMAS = ("reporting", "finance")

LEFT = """
with mine as (
    select pg_class.oid, pg_class.relacl
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where (nspname, relname) in (select * from unnest(%s::text[], %s::text[]))
)
select
    (select count(*) from mine where oid <> coalesce(to_regclass(%s)::oid, 0)),
    (select count(*) from mine, aclexplode(relacl) as acl where grantee = %s::regrole),
    (select count(*) from pg_description join mine on objoid = mine.oid
        where classoid = 'pg_class'::regclass),
    (select count(*) from pg_index join mine on indrelid = mine.oid)
"""


@dataclass(frozen=True)
class Things:
    """How many there are."""

    views: int = 0
    grants: int = 0
    comments: int = 0
    indexes: int = 0

    def without(self, other: Things) -> Things:
        """What is in this and not in the other."""
        pairs = zip(vars(self).items(), vars(other).values(), strict=True)
        return Things(**{name: mine - theirs for (name, mine), theirs in pairs})


@dataclass
class ByHand:
    """Of one table. `arrange` makes what is missing."""

    table: Relation
    views: tuple[Relation, ...] = field(init=False)

    def __post_init__(self) -> None:
        reporting, finance = SCHEMAS
        places = ((reporting, "first"), (finance, "second"), (reporting, "third"))
        self.views = tuple(
            Relation(schema, f"{self.table.name}_{level}") for schema, level in places
        )

    def arrange(self, connection: psycopg.Connection[Any]) -> None:
        """Views in two schemas, each on the one before; what a table and a view may have."""
        is_table = self.is_table(connection)
        table, guest = self.table.identifier, sql.Identifier(GUEST)
        for schema in map(sql.Identifier, SCHEMAS):
            connection.execute(sql.SQL("create schema if not exists {}").format(schema))
            connection.execute(sql.SQL("grant usage on schema {} to {}").format(schema, guest))
        for view, below in zip(self.views, (self.table, *self.views), strict=False):
            create = sql.SQL("create or replace view {} as select id, version from {}")
            connection.execute(create.format(view.identifier, below.identifier))
        for relation in (self.table, *self.views):
            grant = sql.SQL("grant select on {} to {}").format(relation.identifier, guest)
            connection.execute(grant)
        kind = sql.SQL("table" if is_table else "view")
        connection.execute(sql.SQL("comment on {} {} is 'One row each.'").format(kind, table))
        comment = sql.SQL("comment on view {} is 'For finance.'")
        connection.execute(comment.format(self.views[1].identifier))
        if is_table:
            index = sql.Identifier(f"{self.table.name}_by_customer")
            make = sql.SQL("create index if not exists {} on {} (customer)")
            connection.execute(make.format(index, table))

    def left(self, connection: psycopg.Connection[Any]) -> Things:
        """What of it is there now."""
        relations = (self.table, *self.views)
        schemas = [relation.schema for relation in relations]
        names = [relation.name for relation in relations]
        values = (schemas, names, str(self.table), GUEST)
        row = connection.execute(LEFT, values).fetchone()
        assert row is not None
        return Things(*row)

    def is_table(self, connection: psycopg.Connection[Any]) -> bool:
        """With SQLMesh, people query a view on a table of its own."""
        query = "select relkind = 'r' from pg_class where oid = %s::regclass"
        row = connection.execute(query, (str(self.table),)).fetchone()
        return bool(row and row[0])
