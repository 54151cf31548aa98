"""PostgreSQL: what `drop … cascade` takes along, rights, row estimates, definitions.

dbt-postgres drops what it replaces with CASCADE. So all that depends on it is dropped, in other
schemas too, and dbt rebuilds only what is a node of the run.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mage_dbt.warehouse import MATERIALIZED_VIEW, TABLE, VIEW, Lost, Query, Target
from mage_dbt.warehouse.names import Folding

LONGEST_NAME = 63
"""Bytes (NAMEDATALEN - 1)."""

LEFT_BY_DBT = ("__dbt_backup", "__dbt_tmp")
"""Ends of the names under which dbt builds a new relation and keeps the old one. A killed run
leaves them, and the next run drops them first. Views on the old table follow it to its new name."""

RELKINDS = {TABLE: "rp", VIEW: "v", MATERIALIZED_VIEW: "m"}
"""`pg_class.relkind` of each, as dbt sees it. It does not see a foreign table."""

TARGETS = """
targets (node, schema_name, name, drops, rebuilt) as (values {values}),
standing as (
    select targets.node, class.oid, class.reltuples, class.relkind, targets.rebuilt,
        strpos(targets.drops, class.relkind::text) > 0 as dropped
    from targets
    join pg_catalog.pg_namespace as space on space.nspname = targets.schema_name::name
    join pg_catalog.pg_class as class
        on class.relnamespace = space.oid and class.relname = targets.name::name
)
"""

# As findDependentObjects() in PostgreSQL's dependency.c: what depends on a dropped object is
# dropped, and an object is dropped with an internal part of it (a view with its rule).
FALLEN = """
fallen (class, id, part) as (
    select 'pg_catalog.pg_class'::regclass::oid, oid, 0 from standing where dropped
    union
    select next.class, next.id, next.part
    from fallen
    cross join lateral (
        select classid, objid, objsubid from pg_catalog.pg_depend
        where refclassid = fallen.class and refobjid = fallen.id
            and (fallen.part = 0 or refobjsubid = fallen.part)
            and deptype in ('n', 'a', 'i', 'P', 'S')
        union all
        select refclassid, refobjid, refobjsubid from pg_catalog.pg_depend
        where classid = fallen.class and objid = fallen.id and objsubid = fallen.part
            and deptype = 'i'
    ) as next (class, id, part)
)
"""

LOST = """
with recursive {targets},
{fallen},
known as (
    select fallen.*, case fallen.class
        when 'pg_catalog.pg_class'::regclass then coalesce(
            (select indrelid from pg_catalog.pg_index where indexrelid = id),
            case when part > 0 then id end
        )
        when 'pg_catalog.pg_constraint'::regclass
            then (select conrelid from pg_catalog.pg_constraint where oid = id)
        when 'pg_catalog.pg_attrdef'::regclass
            then (select adrelid from pg_catalog.pg_attrdef where oid = id)
        when 'pg_catalog.pg_trigger'::regclass
            then (select tgrelid from pg_catalog.pg_trigger where oid = id)
        when 'pg_catalog.pg_rewrite'::regclass
            then (select ev_class from pg_catalog.pg_rewrite where oid = id)
        when 'pg_catalog.pg_policy'::regclass
            then (select polrelid from pg_catalog.pg_policy where oid = id)
        when 'pg_catalog.pg_statistic_ext'::regclass
            then (select stxrelid from pg_catalog.pg_statistic_ext where oid = id)
        when 'pg_catalog.pg_publication_rel'::regclass
            then (select prrelid from pg_catalog.pg_publication_rel where oid = id)
    end as belongs_to
    from fallen
),
whole as (select id from fallen where class = 'pg_catalog.pg_class'::regclass and part = 0)
select distinct object.type, object.identity, null as reader, null as dropped
from known
cross join lateral pg_catalog.pg_identify_object(class, id, part) as object
where coalesce(belongs_to not in (select id from whole), true)
    and not (class = 'pg_catalog.pg_class'::regclass and part = 0 and (
        id in (select oid from standing where rebuilt or dropped)
        or exists (
            select from pg_catalog.pg_class where oid = id and relkind in ('S', 't')
        )
    ))
    and not (class = 'pg_catalog.pg_type'::regclass and exists (
        select from pg_catalog.pg_type where oid = id and (typrelid <> 0 or typcategory = 'A')
    ))
    and not (class = 'pg_catalog.pg_trigger'::regclass and exists (
        select from pg_catalog.pg_trigger where oid = id and tgisinternal
    ))
union
select null, null, reader_is.identity, below_is.identity
from fallen
join pg_catalog.pg_rewrite as rule
    on rule.oid = fallen.id and fallen.class = 'pg_catalog.pg_rewrite'::regclass
join pg_catalog.pg_depend as depends
    on depends.classid = 'pg_catalog.pg_rewrite'::regclass and depends.objid = rule.oid
    and depends.refclassid = 'pg_catalog.pg_class'::regclass
join pg_catalog.pg_class as reader on reader.oid = rule.ev_class
join pg_catalog.pg_class as below on below.oid = depends.refobjid and below.oid <> reader.oid
cross join lateral pg_catalog.pg_identify_object(
    'pg_catalog.pg_class'::regclass, reader.oid, 0
) as reader_is
cross join lateral pg_catalog.pg_identify_object(
    'pg_catalog.pg_class'::regclass, below.oid, 0
) as below_is
-- Hashed, whatever the planner thinks of the size of a list.
where (reader.oid in (select oid from standing where rebuilt)) is true
    and (below.oid in (select oid from standing where rebuilt and dropped)) is true
order by 2, 1, 3, 4
"""

GRANTED = """
with {targets}
select standing.node, lower(acl.privilege_type) as name,
    coalesce(role.rolname::text, 'public') as grantee
from standing
join pg_catalog.pg_class as class on class.oid = standing.oid
cross join lateral pg_catalog.aclexplode(class.relacl) as acl
left join pg_catalog.pg_roles as role on role.oid = acl.grantee
where standing.rebuilt and standing.dropped and acl.grantee <> class.relowner
    and not exists (
        select from pg_catalog.pg_default_acl as defaults
        cross join lateral pg_catalog.aclexplode(defaults.defaclacl) as given
        where defaults.defaclrole = class.relowner and defaults.defaclobjtype = 'r'
            and defaults.defaclnamespace in (0, class.relnamespace)
            and given.grantee = acl.grantee and given.privilege_type = acl.privilege_type
    )
union all
select node, 'comment', '' from standing
where rebuilt and dropped and pg_catalog.obj_description(oid, 'pg_class') is not null
order by 1, 2, 3
"""

ROWS = """
with {targets}
select node, reltuples::bigint as row_estimate from standing
where rebuilt and relkind in ('r', 'm', 'p') and reltuples >= 0
"""

DEFINITION = """
create temporary view mage_dbt_definition as (
{sql}
);
select pg_catalog.pg_get_viewdef('mage_dbt_definition'::regclass)
    <> pg_catalog.pg_get_viewdef({relation}::regclass) as differs
"""
"""The server prints both queries in its own form. The view ends with its transaction."""


def fold(text: str) -> str:
    """PostgreSQL folds only ASCII letters (`downcase_identifier`, in UTF encodings)."""
    return text.translate(_ASCII)


_ASCII = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Postgres:
    """See `Warehouse`."""

    folding = Folding(fold, LONGEST_NAME, quotes_count=True)
    unknown = ""

    def __init__(self, query: Query) -> None:
        self._query = query

    def written(self, target: Target) -> tuple[str, ...]:
        """With a long name also dbt's other names for it: cut off, they may be another model's."""
        name = self.folding.name(target.rendered)
        shared = asides(name.name) if len(name.name) + len(LEFT_BY_DBT[0]) > LONGEST_NAME else []
        return (str(name), *(str(replace(name, name=aside)) for aside in shared))

    def lost(self, targets: Sequence[Target]) -> Lost:
        if not any(target.drops for target in targets):
            return Lost()
        rows = self._query(
            LOST.format(targets=TARGETS.format(values=self._values(targets)), fallen=FALLEN)
        )
        return Lost(
            tuple(f"{row['type']} {row['identity']}" for row in rows if row["identity"]),
            tuple(self._pairs(rows, targets)),
        )

    def _pairs(
        self, rows: list[dict[str, Any]], targets: Sequence[Target]
    ) -> Iterator[tuple[str, str]]:
        """Pairs of nodes, of which the first one's relation reads the second one's."""
        names = (replace(self.folding.name(target.rendered), database="") for target in targets)
        nodes = {name: target.node for name, target in zip(names, targets, strict=True)}
        for row in rows:
            if row["reader"]:
                reader, dropped = (self.folding.name(row[side]) for side in ("reader", "dropped"))
                yield nodes[reader], nodes[dropped]

    def granted(self, targets: Sequence[Target]) -> dict[str, dict[str, tuple[str, ...]]]:
        if not any(target.drops for target in targets):
            return {}
        rows = self._query(GRANTED.format(targets=TARGETS.format(values=self._values(targets))))
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for row in rows:
            rights = found.setdefault(row["node"], {})
            rights[row["name"]] = (*rights.get(row["name"], ()), row["grantee"])
        return found

    def rows(self, targets: Sequence[Target]) -> dict[str, int]:
        if not targets:
            return {}
        rows = self._query(ROWS.format(targets=TARGETS.format(values=self._values(targets))))
        return {row["node"]: int(row["row_estimate"]) for row in rows}

    def keeps_definition(self, rendered: str, sql: str) -> bool:
        name = replace(self.folding.name(rendered), database="")
        rows = self._query(DEFINITION.format(sql=sql, relation=literal(str(name))))
        return bool(rows and rows[0]["differs"])

    def _values(self, targets: Sequence[Target]) -> str:
        rows = []
        for target in targets:
            name = self.folding.name(target.rendered)
            kinds = "".join(RELKINDS[kind] for kind in sorted(target.drops))
            rows.append((target.node, name.schema, name.name, kinds, "true"))
            if target.builds_aside:
                for left in asides(name.name):
                    rows.append((target.node, name.schema, left, "rpvm", "false"))
        return ", ".join(
            f"({', '.join(map(literal, texts))}, {rebuilt})" for *texts, rebuilt in rows
        )


def asides(name: str) -> list[str]:
    """The names under which dbt keeps the old relation `name` and builds the new one.

    They are cut off as dbt's macro `postgres__make_relation_with_suffix` does.
    """
    found = [name[: LONGEST_NAME - len(end)] + end for end in LEFT_BY_DBT]
    return [aside.encode()[:LONGEST_NAME].decode(errors="ignore") for aside in found]


def literal(text: str) -> str:
    """As a string constant, whatever `standard_conforming_strings` says."""
    escaped = text.replace("'", "''")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in text else f"'{escaped}'"
