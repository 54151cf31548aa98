"""What a relation has besides its rows, read from the catalog.

`read` finds all that readers, dbt or pg_dump can see of a relation and that a swap keeps.
carrying.py hands it on to another relation, and refusals.py names what it cannot hand on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.refresh.postgres import schemas
from mage_dbt.warehouse.refresh.postgres.dependents import direct_views
from mage_dbt.warehouse.refresh.postgres.relation import (
    CONSTRAINT_KINDS,
    TABLE,
    Column,
    Constraint,
    Grant,
    Index,
    Properties,
    Statistics,
)
from mage_dbt.warehouse.session import Session

GRANTS = """coalesce((
    select pg_catalog.json_agg(pg_catalog.json_build_array(
        coalesce(grantee.rolname, ''), pg_catalog.lower(acl.privilege_type), acl.is_grantable,
        grantor.rolname
    ) order by acl.place)
    from pg_catalog.aclexplode({acl})
        with ordinality as acl (grantor, grantee, privilege_type, is_grantable, place)
    left join pg_catalog.pg_roles as grantee on grantee.oid = acl.grantee
    left join pg_catalog.pg_roles as grantor on grantor.oid = acl.grantor
    where acl.grantee = 0 or grantee.oid is not null
), '[]')"""

OPTIONS = """coalesce((
    select pg_catalog.json_agg(
        pg_catalog.json_build_array({prefix}name, value) order by place
    ) from pg_catalog.pg_options_to_table({options}) with ordinality as found (name, value, place)
), '[]')"""

# A default ACL of the whole database stands in the place of the server's own, one of a schema adds.
RELATION = f"""
select class.oid::bigint, space.nspname::text as schema, class.relname::text as name,
    class.relkind::text as kind, pg_catalog.pg_get_userbyid(class.relowner)::text as owner,
    class.relpersistence::text as persistence, coalesce(method.amname::text, '') as access_method,
    coalesce(place.spcname::text, '') as tablespace,
    {OPTIONS.format(prefix="", options="class.reloptions")} as options,
    {OPTIONS.format(prefix="'toast.' || ", options="toast.reloptions")} as toast_options,
    pg_catalog.obj_description(class.oid, 'pg_class') as comment,
    {GRANTS.format(acl="coalesce(class.relacl, pg_catalog.acldefault('r', class.relowner))")}
        as grants,
    {
    GRANTS.format(
        acl='''coalesce(
            (
                select defaclacl from pg_catalog.pg_default_acl
                where defaclrole = class.relowner and defaclobjtype = 'r' and defaclnamespace = 0
            ),
            pg_catalog.acldefault('r', class.relowner)
        )'''
    )
} as given,
    {
    GRANTS.format(
        acl='''(
            select defaclacl from pg_catalog.pg_default_acl
            where defaclrole = class.relowner and defaclobjtype = 'r'
                and defaclnamespace = class.relnamespace
        )'''
    )
} as given_here,
    case class.relreplident
        when 'n' then 'nothing'
        when 'f' then 'full'
        when 'i' then coalesce((
            select 'index ' || marked.relname from pg_catalog.pg_index as index
            join pg_catalog.pg_class as marked on marked.oid = index.indexrelid
            where index.indrelid = class.oid and index.indisreplident
        ), 'nothing')
        else 'default'
    end as replica_identity,
    coalesce((
        select marked.relname::text from pg_catalog.pg_index as index
        join pg_catalog.pg_class as marked on marked.oid = index.indexrelid
        where index.indrelid = class.oid and index.indisclustered
    ), '') as cluster,
    case when class.relkind = 'v' then pg_catalog.pg_get_viewdef(class.oid) else '' end
        as definition,
    class.relfilenode::bigint as filenode, class.relrowsecurity as row_security,
    class.relforcerowsecurity as force_row_security,
    class.reloftype <> 0 as typed, class.relispartition as partition
from pg_catalog.pg_class as class
join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
left join pg_catalog.pg_am as method on method.oid = class.relam
left join pg_catalog.pg_tablespace as place on place.oid = class.reltablespace
left join pg_catalog.pg_class as toast on toast.oid = class.reltoastrelid
where space.nspname = %(schema)s::name and class.relname = %(name)s::name
    and class.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
"""

COLUMNS = f"""
select attribute.attname::text as name,
    pg_catalog.format_type(attribute.atttypid, attribute.atttypmod) as type,
    case when attribute.attcollation <> type.typcollation
        then attribute.attcollation::regcollation::text else '' end as collation,
    attribute.attnotnull as not_null,
    pg_catalog.pg_get_expr(def.adbin, def.adrelid) as default,
    attribute.attgenerated::text as generated, attribute.attidentity::text as identity,
    case when attribute.attstorage <> type.typstorage then attribute.attstorage::text else '' end
        as storage,
    attribute.attcompression::text as compression,
    nullif(attribute.attstattarget, -1)::int as statistics,
    {OPTIONS.format(prefix="", options="attribute.attoptions")} as options,
    pg_catalog.col_description(attribute.attrelid, attribute.attnum) as comment,
    {GRANTS.format(acl="attribute.attacl")} as grants
from pg_catalog.pg_attribute as attribute
join pg_catalog.pg_type as type on type.oid = attribute.atttypid
left join pg_catalog.pg_attrdef as def
    on def.adrelid = attribute.attrelid and def.adnum = attribute.attnum
where attribute.attrelid = %(oid)s and attribute.attnum > 0 and not attribute.attisdropped
order by attribute.attnum
"""

USED = """coalesce((
    select pg_catalog.json_agg(used.attname order by used.attnum)
    from (
        select distinct attribute.attname, attribute.attnum
        from pg_catalog.pg_depend as depends
        join pg_catalog.pg_attribute as attribute
            on attribute.attrelid = depends.refobjid and attribute.attnum = depends.refobjsubid
        where depends.classid = '{catalog}'::regclass and depends.objid = {id}
            and depends.refclassid = 'pg_catalog.pg_class'::regclass
            and depends.refobjid = %(oid)s and depends.refobjsubid > 0
    ) as used
), '[]')"""

# Without its beginning, which holds the names, a definition can be compared and used for another.
# An index of a constraint depends on the constraint, and that on the columns.
INDEXES = f"""
select class.relname::text as name, index.indisunique as unique,
    pg_catalog.pg_get_indexdef(class.oid) as whole,
    pg_catalog.format(
        'CREATE %%sINDEX %%I ON %%s USING ',
        case when index.indisunique then 'UNIQUE ' else '' end, class.relname,
        index.indrelid::regclass
    ) as beginning,
    coalesce(place.spcname::text, '') as tablespace, index.indisvalid as valid,
    con.oid is not null as constraint,
    case when con.oid is null then {USED.format(catalog="pg_catalog.pg_class", id="class.oid")}
        else {USED.format(catalog="pg_catalog.pg_constraint", id="con.oid")} end as columns,
    coalesce((
        select pg_catalog.json_agg(
            pg_catalog.json_build_array(attnum, attstattarget) order by attnum
        ) from pg_catalog.pg_attribute where attrelid = class.oid and attstattarget >= 0
            and attnum > 0
    ), '[]') as statistics,
    pg_catalog.obj_description(class.oid, 'pg_class') as comment
from pg_catalog.pg_index as index
join pg_catalog.pg_class as class on class.oid = index.indexrelid
left join pg_catalog.pg_tablespace as place on place.oid = class.reltablespace
left join pg_catalog.pg_constraint as con
    on con.conindid = class.oid and con.conrelid = index.indrelid and con.contype in ('p', 'u', 'x')
where index.indrelid = %(oid)s
order by class.relname
"""

CONSTRAINTS = f"""
select con.conname::text as name, con.contype::text as kind,
    pg_catalog.pg_get_constraintdef(con.oid) as definition,
    coalesce(case when con.contype in ('p', 'u', 'x') then class.relname::text end, '') as index,
    con.condeferrable as deferrable, con.condeferred as deferred,
    coalesce(pg_catalog.to_jsonb(con) ->> 'conperiod', 'false') = 'true' as period,
    {USED.format(catalog="pg_catalog.pg_constraint", id="con.oid")} as columns,
    pg_catalog.obj_description(con.oid, 'pg_constraint') as comment
from pg_catalog.pg_constraint as con
left join pg_catalog.pg_class as class on class.oid = con.conindid
where con.conrelid = %(oid)s and con.contype in ('p', 'u', 'x', 'c', 'n', 'f')
order by con.conname
"""

EXTENDED = f"""
select space.nspname::text as schema, statistics.stxname::text as name,
    pg_catalog.pg_get_userbyid(statistics.stxowner)::text as owner,
    pg_catalog.array_to_string(statistics.stxkind, '') as kinds,
    pg_catalog.pg_get_statisticsobjdef_columns(statistics.oid) as definition,
    {USED.format(catalog="pg_catalog.pg_statistic_ext", id="statistics.oid")} as columns,
    nullif(statistics.stxstattarget, -1)::int as target,
    pg_catalog.obj_description(statistics.oid, 'pg_statistic_ext') as comment
from pg_catalog.pg_statistic_ext as statistics
join pg_catalog.pg_namespace as space on space.oid = statistics.stxnamespace
where statistics.stxrelid = %(oid)s
order by space.nspname, statistics.stxname
"""

# Dependents beyond the views that are replaced; of a table's own things those that are refused.
OTHERS = """
select pg_catalog.pg_get_triggerdef(oid) as text from pg_catalog.pg_trigger
where tgrelid = %(oid)s and not tgisinternal
union all
select pg_catalog.pg_get_ruledef(oid) from pg_catalog.pg_rewrite
where ev_class = %(oid)s and rulename <> '_RETURN'
union all
select 'policy ' || polname from pg_catalog.pg_policy where polrelid = %(oid)s
union all
select 'publication ' || pubname from pg_catalog.pg_publication_rel
join pg_catalog.pg_publication as publication on publication.oid = prpubid
where prrelid = %(oid)s
union all
select 'inheritance of ' || inhrelid::regclass || ' from ' || inhparent::regclass
from pg_catalog.pg_inherits where inhparent = %(oid)s or inhrelid = %(oid)s
union all
select pg_catalog.pg_describe_object(depends.classid, depends.objid, depends.objsubid)
from pg_catalog.pg_depend as depends
left join pg_catalog.pg_type as type
    on type.oid = depends.refobjid and depends.refclassid = 'pg_catalog.pg_type'::regclass
where (
        depends.refclassid = 'pg_catalog.pg_class'::regclass and depends.refobjid = %(oid)s
        or type.typrelid = %(oid)s
    )
    and depends.classid <> 'pg_catalog.pg_rewrite'::regclass
    and depends.deptype in ('n', 'a') and not (
        depends.classid = 'pg_catalog.pg_class'::regclass
            and (
                depends.objid = %(oid)s
                or exists (select from pg_catalog.pg_index where indexrelid = depends.objid)
            )
        or depends.classid = 'pg_catalog.pg_attrdef'::regclass
        or depends.classid = 'pg_catalog.pg_statistic_ext'::regclass
        or depends.classid = 'pg_catalog.pg_constraint'::regclass and exists (
            select from pg_catalog.pg_constraint as con
            where con.oid = depends.objid and con.conrelid = %(oid)s
        )
    )
order by 1
"""


def read(session: Session, name: Name) -> Properties | None:
    """What stands there; None if nothing does.

    Definitions of views take ACCESS SHARE on all that these read, so it may wait for a lock.
    """
    with session.qualified():
        rows = session.rows(RELATION, {"schema": name.schema, "name": name.name})
        if not rows:
            return None
        row = rows[0]
        values = {"oid": row["oid"]}
        flags = ("row_security", "force_row_security", "typed", "partition")
        others = [other["text"] for other in session.rows(OTHERS, values)]
        return Properties(
            oid=row["oid"],
            name=name,
            kind=row["kind"],
            owner=row["owner"],
            persistence=row["persistence"],
            access_method=row["access_method"],
            tablespace=row["tablespace"],
            options=_pairs([*row["options"], *row["toast_options"]]),
            comment=row["comment"],
            grants=_grants(row["grants"]),
            columns=tuple(_column(column) for column in session.rows(COLUMNS, values)),
            indexes=tuple(_index(index) for index in session.rows(INDEXES, values)),
            constraints=tuple(
                Constraint(**{**con, "columns": tuple(con["columns"])})
                for con in session.rows(CONSTRAINTS, values)
            ),
            statistics=tuple(_statistics(found) for found in session.rows(EXTENDED, values)),
            replica_identity=row["replica_identity"],
            cluster=row["cluster"],
            definition=row["definition"].strip().removesuffix(";"),
            others=(*others, *(flag for flag in flags if row[flag])),
            views=tuple(
                view
                for view in direct_views(session, [row["oid"]], [])
                if not view.name.schema.startswith((schemas.NEW, schemas.OLD))
            ),
            filenode=row["filenode"],
            given=_grants([*row["given"], *row["given_here"]]),
        )


def _pairs(rows: Iterable[Sequence[Any]]) -> tuple[tuple[Any, Any], ...]:
    return tuple((key, value) for key, value in rows)


def _grants(rows: Iterable[Sequence[Any]]) -> tuple[Grant, ...]:
    return tuple(dict.fromkeys(Grant(*row) for row in rows))


def _column(row: dict[str, Any]) -> Column:
    return Column(**{**row, "options": _pairs(row["options"]), "grants": _grants(row["grants"])})


def _index(row: dict[str, Any]) -> Index:
    whole, beginning = row.pop("whole"), row.pop("beginning")
    if not whole.startswith(beginning):
        raise AssertionError(f"the definition of an index begins otherwise: {whole}")
    return Index(
        **{
            **row,
            "columns": tuple(row["columns"]),
            "statistics": _pairs(row["statistics"]),
            "definition": whole.removeprefix(beginning),
        }
    )


def _statistics(row: dict[str, Any]) -> Statistics:
    name = Name("", row.pop("schema"), row.pop("name"))
    return Statistics(**{**row, "name": name, "columns": tuple(row["columns"])})


def differences(before: Properties, now: Properties) -> list[str]:
    """Sentences on what was changed; none exactly when both are equal."""
    found = []
    for item in fields(Properties):
        was, became = getattr(before, item.name), getattr(now, item.name)
        if not item.compare or was == became:
            continue
        what = item.name.replace("_", " ")
        if item.name == "oid":
            found.append("It is another relation.")
        elif item.name in ("columns", "indexes", "constraints", "statistics", "views"):
            found += _changed_items(what, was, became)
        elif item.name in ("grants", "options", "others"):
            found += [f"{_plain(value)} is new." for value in became if value not in was]
            found += [f"{_plain(value)} is gone." for value in was if value not in became]
        else:
            found.append(f"The {what} was changed: {_plain(was)} -> {_plain(became)}.")
    return found


def _changed_items(what: str, was: Sequence[Any], became: Sequence[Any]) -> Iterator[str]:
    label = {"indexes": "index", "columns": "column", "constraints": "constraint", "views": "view"}
    old, new = ({str(item.name): item for item in side} for side in (was, became))
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            does = "is new" if name not in old else "is gone" if name not in new else "was changed"
            yield f"The {label.get(what, what)} {name} {does}."
    if [*old] != [*new] and old == new:
        yield f"The {what} have another order."


def _plain(value: Any) -> str:
    if isinstance(value, Grant):
        return f"{value.privilege} for {value.grantee or 'public'}"
    if isinstance(value, tuple):
        return "=".join(str(part) for part in value)
    return str(value or "none")


def phrases(live: Properties) -> tuple[str, ...]:
    """What the new relation gets from this one, a phrase each."""
    found = [f"owner {live.owner}"]
    rights: dict[str, dict[str, None]] = {}
    for columns, grants in (
        ("", live.grants),
        *((f" ({column.name})", column.grants) for column in live.columns),
    ):
        for grant in grants:
            if grant.grantee != live.owner:
                option = " with grant option" if grant.grantable else ""
                key = f"{grant.privilege}{columns}{option}"
                rights.setdefault(key, {}).setdefault(grant.grantee or "public")
    found += [f"{right} for {', '.join(grantees)}" for right, grantees in rights.items()]
    if live.comment is not None:
        found.append("comment")
    if commented := [column.name for column in live.columns if column.comment is not None]:
        found.append(f"comments of {', '.join(commented)}")
    found += [f"index {index.name}" for index in live.indexes if not index.constraint]
    found += [f"{CONSTRAINT_KINDS[con.kind]} {con.name}" for con in live.constraints]
    for column in live.columns:
        details = [
            *(["default"] if column.default is not None and not column.generated else []),
            *(["expression"] if column.generated else []),
            *(["storage"] if column.storage else []),
            *(["compression"] if column.compression else []),
            *(["statistics target"] if column.statistics is not None else []),
            *(f"{name}={value}" for name, value in column.options),
        ]
        if details:
            found.append(f"{', '.join(details)} of {column.name}")
    found += [f"{name}={value}" for name, value in live.options]
    found += [f"statistics {extended.name.name}" for extended in live.statistics]
    if live.kind == TABLE and live.replica_identity != "default":
        found.append(f"replica identity {live.replica_identity}")
    if live.cluster:
        found.append(f"clustered on {live.cluster}")
    if live.tablespace:
        found.append(f"tablespace {live.tablespace}")
    return tuple(found)
