"""What a swap cannot carry over, each by its name: found before anything is built, and looked for
again under the locks of the swap, because people go on working meanwhile.

What depends on a relation holds its OID, or its row type's. A swap can make views read the new
relation, and it makes again what belongs to a table alone. Everything else would go on using the
former relation, so it refuses the refresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from mage_dbt.model.refresh import Refusal
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.session import Session

IN_PLACE = "Or refresh it in place (`in_place`), which drops and rebuilds as dbt does."

FOUND = """
select class.oid::bigint, class.relkind::text as kind, class.relname::text as name,
    class.oid::regclass::text as label, class.reloftype::regtype::text as of_type,
    class.relispartition as partition, class.relpersistence = 't' as temporary,
    class.relrowsecurity or class.relforcerowsecurity as row_security,
    pg_catalog.pg_get_userbyid(class.relowner)::text as owner,
    pg_catalog.pg_has_role(class.relowner, 'USAGE')
        -- Since PostgreSQL 16 a member may have no right to hand something over.
        and case when pg_catalog.current_setting('server_version_num')::int >= 160000
            then pg_catalog.pg_has_role(class.relowner, 'SET') else true end as owned,
    current_user::text as role
from pg_catalog.pg_class as class
join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
where space.nspname = %(schema)s::name and class.relname = %(name)s::name
    and class.relkind not in ('i', 'I', 't')
"""

RIGHTS = """
select current_user::text as role, pg_catalog.current_database()::text as database,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') as may_create,
    coalesce(pg_catalog.has_schema_privilege(space.oid, 'CREATE'), true) as may_move
from (select) as nothing
left join pg_catalog.pg_namespace as space on space.nspname = %(schema)s::name
"""

# An event trigger of an extension, such as TimescaleDB's, is about the extension's own relations.
EVENT_TRIGGERS = """
select trigger.evtname::text as name, trigger.evtevent::text as event
from pg_catalog.pg_event_trigger as trigger
where trigger.evtenabled in ('O', 'A') and trigger.evtevent <> 'login'
    and (
        trigger.evttags is null
        or trigger.evttags && array[
            'ALTER TABLE', 'ALTER VIEW', 'ALTER INDEX', 'ALTER STATISTICS', 'COMMENT',
            'CREATE INDEX', 'CREATE SCHEMA', 'CREATE STATISTICS', 'CREATE TABLE',
            'CREATE TABLE AS', 'CREATE VIEW', 'DROP SCHEMA', 'DROP TABLE', 'DROP VIEW', 'GRANT',
            'REVOKE'
        ]
    )
    and not exists (
        select from pg_catalog.pg_depend
        where classid = 'pg_catalog.pg_event_trigger'::regclass and objid = trigger.oid
            and deptype = 'e'
    )
order by trigger.evtname
"""

OWN = """
select 'trigger' as what, tgname::text as name from pg_catalog.pg_trigger
where tgrelid = %(oid)s and not tgisinternal
union all
select 'policy', polname::text from pg_catalog.pg_policy where polrelid = %(oid)s
union all
select 'rule', rulename::text from pg_catalog.pg_rewrite
where ev_class = %(oid)s and rulename <> '_RETURN'
union all
select 'publication', pubname::text from pg_catalog.pg_publication as publication
where %(kind)s = 'r' and (puballtables or exists (
    select from pg_catalog.pg_publication_rel
    where prpubid = publication.oid and prrelid = %(oid)s
))
union all
select 'subscription', '' from pg_catalog.pg_subscription_rel where srrelid = %(oid)s
union all
select 'foreign key', conname::text from pg_catalog.pg_constraint
where conrelid = %(oid)s and contype = 'f'
union all
select 'identity', attname::text from pg_catalog.pg_attribute
where attrelid = %(oid)s and attidentity <> '' and not attisdropped
union all
select 'parent', inhparent::regclass::text from pg_catalog.pg_inherits where inhrelid = %(oid)s
union all
select 'label', provider from pg_catalog.pg_seclabel
where classoid = 'pg_catalog.pg_class'::regclass and objoid = %(oid)s
union all
select 'extension', extname::text from pg_catalog.pg_depend
join pg_catalog.pg_extension as extension on extension.oid = refobjid
where classid = 'pg_catalog.pg_class'::regclass and objid = %(oid)s
    and refclassid = 'pg_catalog.pg_extension'::regclass and deptype = 'e'
order by 1, 2
"""

SCHEMA_PUBLICATIONS = """
select pubname::text as name
from pg_catalog.pg_publication_namespace
join pg_catalog.pg_publication as publication on publication.oid = pnpubid
join pg_catalog.pg_class as class on class.relnamespace = pnnspid
where class.oid = %(oid)s and class.relkind = 'r'
order by 1
"""
"""Since PostgreSQL 15."""

DEPENDENTS = """
with depends as (
    select classid, objid, objsubid, false as of_type, deptype from pg_catalog.pg_depend
    where refclassid = 'pg_catalog.pg_class'::regclass and refobjid = %(oid)s
        and deptype in ('n', 'a', 'i')
    union
    select classid, objid, objsubid, true, deptype from pg_catalog.pg_depend
    join pg_catalog.pg_type as type on type.oid = refobjid
    where refclassid = 'pg_catalog.pg_type'::regclass
        and (
            type.typrelid = %(oid)s
            or type.typelem in (select oid from pg_catalog.pg_type where typrelid = %(oid)s)
            and type.typcategory = 'A'
        )
        and deptype in ('n', 'a')
),
known as (
    select depends.*, rule.ev_class as reader, rule.rulename as rule,
        coalesce(
            rule.ev_class, con.conrelid, policy.polrelid, trigger.tgrelid, def.adrelid,
            statistics.stxrelid, publication.prrelid, index.indrelid,
            own_type.typrelid,
            -- Before PostgreSQL 15 a generated column depends on others by itself.
            case when depends.classid = 'pg_catalog.pg_class'::regclass
                and depends.objid = %(oid)s then depends.objid end
        ) as belongs_to
    from depends
    left join pg_catalog.pg_rewrite as rule
        on depends.classid = 'pg_catalog.pg_rewrite'::regclass and rule.oid = depends.objid
    left join pg_catalog.pg_constraint as con
        on depends.classid = 'pg_catalog.pg_constraint'::regclass and con.oid = depends.objid
    left join pg_catalog.pg_policy as policy
        on depends.classid = 'pg_catalog.pg_policy'::regclass and policy.oid = depends.objid
    left join pg_catalog.pg_trigger as trigger
        on depends.classid = 'pg_catalog.pg_trigger'::regclass and trigger.oid = depends.objid
    left join pg_catalog.pg_attrdef as def
        on depends.classid = 'pg_catalog.pg_attrdef'::regclass and def.oid = depends.objid
    left join pg_catalog.pg_statistic_ext as statistics
        on depends.classid = 'pg_catalog.pg_statistic_ext'::regclass
        and statistics.oid = depends.objid
    left join pg_catalog.pg_publication_rel as publication
        on depends.classid = 'pg_catalog.pg_publication_rel'::regclass
        and publication.oid = depends.objid
    left join pg_catalog.pg_type as own_type
        on depends.classid = 'pg_catalog.pg_type'::regclass and own_type.oid = depends.objid
        and own_type.typrelid = %(oid)s
    left join pg_catalog.pg_index as index
        on depends.classid = 'pg_catalog.pg_class'::regclass and index.indexrelid = depends.objid
)
select distinct object.type, object.identity, class.relkind::text as kind, known.of_type,
    known.rule::text, known.reader::regclass::text as reader, class.oid::bigint,
    inherits.inhrelid is not null as child,
    pg_catalog.pg_get_userbyid(class.relowner)::text as owner,
    pg_catalog.pg_has_role(class.relowner, 'USAGE') as owned,
    space.nspname::text as schema,
    pg_catalog.has_schema_privilege(space.oid, 'CREATE') as may_replace
from known
left join pg_catalog.pg_class as class
    on class.oid = coalesce(known.reader, case
        when known.classid = 'pg_catalog.pg_class'::regclass then known.objid
    end)
left join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
left join pg_catalog.pg_inherits as inherits
    on inherits.inhrelid = class.oid and inherits.inhparent = %(oid)s
cross join lateral pg_catalog.pg_identify_object(
    known.classid, known.objid, known.objsubid
) as object
where known.belongs_to is distinct from %(oid)s
    and coalesce(class.relkind, '') not in ('i', 'I', 't')
    and not (class.relkind = 'S' and known.deptype = 'i')  -- of an identity column, see OWN
    and coalesce(class.relpersistence, '') <> 't'
order by object.type, object.identity
"""

KINDS = {
    "p": "a partitioned table",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "c": "a type",
}
"""What is no table and no view, by `pg_class.relkind`."""


def refusals(session: Session, live: Name, parts: Sequence[int]) -> list[Refusal]:
    """What stands in the way of a swap. `parts` are the OIDs of all relations that are swapped."""
    with session.qualified():
        found = session.rows(FOUND, {"schema": live.schema, "name": live.name})
        if not found:
            return [*_rights(session, live), *_event_triggers(session)]
        row = found[0]
        values = {"oid": row["oid"], "kind": row["kind"]}
        if row["kind"] in KINDS:
            return [_of_kind(row)]
        own = session.rows(OWN, values)
        if session.rows(
            "select pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') as it"
        )[0]["it"]:
            own += [
                {"what": "schema publication", "name": publication["name"]}
                for publication in session.rows(SCHEMA_PUBLICATIONS, values)
            ]
        depends = [other for other in session.rows(DEPENDENTS, values) if other["oid"] not in parts]
        return [
            *_rights(session, live),
            *_of_relation(row),
            *(_of_own(row["label"], thing["what"], thing["name"]) for thing in own),
            *_of_dependents(row["label"], depends),
            *_event_triggers(session),
        ]


def offered(found: Iterable[Refusal], undo: bool) -> tuple[Refusal, ...]:
    """The refusals, with hints that can be followed: an undo builds nothing in place."""
    if not undo:
        return tuple(found)
    return tuple(
        replace(refusal, hint=refusal.hint.replace(IN_PLACE, "").strip()) for refusal in found
    )


def _rights(session: Session, live: Name) -> Iterator[Refusal]:
    row = session.rows(RIGHTS, {"schema": live.schema})[0]
    if not row["may_create"]:
        yield Refusal(
            f"The role {row['role']} may not create schemas in the database {row['database']}.",
            "Grant it CREATE on the database: a refresh builds in a schema of its own. " + IN_PLACE,
        )
    if not row["may_move"]:
        yield Refusal(
            f"The role {row['role']} may not create anything in the schema {live.schema}.",
            f"Grant it CREATE on the schema. {IN_PLACE}",
        )


def _event_triggers(session: Session) -> Iterator[Refusal]:
    for row in session.rows(EVENT_TRIGGERS):
        yield Refusal(
            f"The event trigger {row['name']} runs at {row['event']}, so for the statements of a "
            "swap too.",
            f"Let an operator disable it meanwhile, or limit it to other tags. {IN_PLACE}",
        )


def _of_kind(row: dict[str, Any]) -> Refusal:
    return Refusal(
        f"{row['label']} is {KINDS[row['kind']]}; only tables and views can be swapped.", IN_PLACE
    )


def _of_relation(row: dict[str, Any]) -> Iterator[Refusal]:
    label = row["label"]
    if not row["owned"]:
        yield Refusal(
            f"{label} is owned by {row['owner']}, of which the role {row['role']} is no member.",
            f"Grant {row['owner']} to {row['role']}, or let it own the relation.",
        )
    if row["temporary"]:
        yield Refusal(f"{label} is a temporary table.", IN_PLACE)
    if row["of_type"] != "-":
        yield Refusal(
            f"{label} is a typed table, of {row['of_type']}.",
            f"Release it first: alter table {label} not of. {IN_PLACE}",
        )
    if row["row_security"]:
        yield Refusal(
            f"{label} has row-level security.",
            "A new table would show all rows to everybody until its policies are made again. "
            + IN_PLACE,
        )


def _of_own(label: str, what: str, name: str) -> Refusal:
    sentence, hint = {
        "trigger": (
            f"The trigger {name} on {label} would stay with the former relation.",
            "Drop the trigger first, and make it again afterwards.",
        ),
        "policy": (
            f"The policy {name} on {label} would stay with the former relation.",
            "Drop the policy first, and make it again afterwards.",
        ),
        "rule": (
            f"The rule {name} on {label} would stay with the former relation.",
            "Drop the rule first, and make it again afterwards.",
        ),
        "publication": (
            f"The publication {name} has {label}; its subscribers would not follow a swap.",
            "Take the table out of the publication first. One for all tables would publish what is "
            "built aside too.",
        ),
        "schema publication": (
            f"The publication {name} has all tables of the schema of {label}; its subscribers "
            "would not follow a swap.",
            "Take the schema out of the publication first.",
        ),
        "subscription": (
            f"{label} is filled by a subscription, which would go on filling the former table.",
            "Take it out of the subscription first.",
        ),
        "foreign key": (
            f"{label} has the foreign key {name}.",
            "Drop the constraint first, and make it again afterwards.",
        ),
        "identity": (
            f"The column {name} of {label} is an identity column, whose sequence would stay with "
            "the former table.",
            f"Drop it first: alter table {label} alter column {name} drop identity.",
        ),
        "parent": (
            f"{label} is a partition or a child of {name}.",
            "Detach it first, or take its inheritance back.",
        ),
        "label": (
            f"{label} has a security label of {name}.",
            "Take the label back first, and give it again afterwards.",
        ),
        "extension": (f"{label} belongs to the extension {name}.", ""),
    }[what]
    return Refusal(sentence, f"{hint} {IN_PLACE}".strip())


def _of_dependents(label: str, depends: Sequence[dict[str, Any]]) -> Iterator[Refusal]:
    for row in depends:
        what, name = row["type"], row["identity"]
        if row["rule"] and row["kind"] == "v" and row["rule"] == "_RETURN":
            yield from _of_view(label, row)
        elif row["rule"] and row["kind"] == "m":
            yield Refusal(
                f"The materialized view {row['reader']} reads {label}.",
                "Drop it first, and make it again afterwards: no statement changes its query. "
                + IN_PLACE,
            )
        elif row["rule"]:
            yield Refusal(
                f"The rule {row['rule']} on {row['reader']} uses {label}.",
                f"Drop the rule first, and make it again afterwards. {IN_PLACE}",
            )
        elif row["child"]:
            yield Refusal(
                f"{name} inherits from {label}.", f"Take its inheritance back first. {IN_PLACE}"
            )
        elif row["kind"] == "S":
            yield Refusal(
                f"The sequence {name} is owned by a column of {label}, and would stay with the "
                "former table.",
                f"Release it first: alter sequence {name} owned by none. {IN_PLACE}",
            )
        elif row["of_type"]:
            yield Refusal(
                f"The {what} {name} uses the row type of {label}.",
                f"Drop it first, and make it again afterwards. {IN_PLACE}",
            )
        elif what == "table constraint":
            yield Refusal(
                f"The foreign key {name} refers to {label}.",
                f"Drop the constraint first, and make it again afterwards. {IN_PLACE}",
            )
        else:
            yield Refusal(
                f"The {what} {name} uses {label}.",
                f"Drop it first, and make it again afterwards. {IN_PLACE}",
            )


def _of_view(label: str, row: dict[str, Any]) -> Iterator[Refusal]:
    if row["of_type"]:
        yield Refusal(
            f"The view {row['reader']} uses the row type of {label}.",
            f"Let it name columns instead of the whole row. {IN_PLACE}",
        )
    if not row["owned"]:
        yield Refusal(
            f"The view {row['reader']} on {label} is owned by {row['owner']}, of which the role "
            "that dbt uses is no member.",
            f"Grant it {row['owner']}, or let it own the view: a swap makes the view read the new "
            f"relation. {IN_PLACE}",
        )
    if not row["may_replace"]:
        yield Refusal(
            f"The role that dbt uses may not create anything in the schema {row['schema']} of the "
            f"view {row['reader']} on {label}.",
            f"Grant it CREATE on the schema: a swap replaces the view. {IN_PLACE}",
        )
