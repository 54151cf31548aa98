"""What depends on a relation: the views that a swap makes read the new one, and all else.

A view reads a relation by its OID. So after a swap it would go on reading the former one, until
CREATE OR REPLACE VIEW reads its names anew. Views that read it through another view need nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mage_dbt.model.refresh import Dependent
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.postgres import literal
from mage_dbt.warehouse.session import Session


@dataclass(frozen=True)
class View:
    """A view that reads some relation directly."""

    oid: int
    name: Name
    owner: str
    options: tuple[tuple[str, str], ...]
    """As `security_barrier` and `true`; `check_option` is among them."""
    definition: str
    """Its query, with every name qualified; to be run in `Session.qualified`."""
    uses: tuple[tuple[int, tuple[str, ...]], ...]
    """The columns it uses, by OID of the relation. None where it uses the whole row."""
    written: tuple[tuple[int, str], ...]
    """How `definition` writes each of these relations."""

    def columns_of(self, oid: int) -> tuple[str, ...]:
        return dict(self.uses).get(oid, ())


# A view of another session's temporary schema cannot be replaced; it ends with that session.
DIRECT = """
with direct as (
    select distinct rule.ev_class as id
    from pg_catalog.pg_depend as depends
    join pg_catalog.pg_rewrite as rule on rule.oid = depends.objid and rule.ev_type = '1'
    where depends.classid = 'pg_catalog.pg_rewrite'::regclass
        and depends.refclassid = 'pg_catalog.pg_class'::regclass
        and depends.refobjid = any(%(oids)s::oid[]) and rule.ev_class <> depends.refobjid
        and rule.ev_class <> all(%(parts)s::oid[])
)
select class.oid::bigint, space.nspname::text as schema, class.relname::text as name,
    pg_catalog.pg_get_userbyid(class.relowner)::text as owner,
    (
        select coalesce(pg_catalog.json_agg(
            pg_catalog.json_build_array(option_name, option_value) order by option_name
        ), '[]') from pg_catalog.pg_options_to_table(class.reloptions)
    ) as options,
    pg_catalog.pg_get_viewdef(class.oid) as definition,
    (
        select coalesce(pg_catalog.json_agg(
            pg_catalog.json_build_array(used.id, used.columns, used.written) order by used.id
        ), '[]')
        from (
            select depends.refobjid::bigint as id, depends.refobjid::regclass::text as written,
                coalesce(
                pg_catalog.json_agg(distinct attribute.attname)
                    filter (where attribute.attname is not null), '[]'
            ) as columns
            from pg_catalog.pg_rewrite as rule
            join pg_catalog.pg_depend as depends
                on depends.classid = 'pg_catalog.pg_rewrite'::regclass
                and depends.objid = rule.oid
                and depends.refclassid = 'pg_catalog.pg_class'::regclass
            left join pg_catalog.pg_attribute as attribute
                on attribute.attrelid = depends.refobjid
                and attribute.attnum = depends.refobjsubid and depends.refobjsubid <> 0
            where rule.ev_class = class.oid and depends.refobjid <> class.oid
            group by depends.refobjid
        ) as used
    ) as uses
from direct
join pg_catalog.pg_class as class on class.oid = direct.id
join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
where class.relkind = 'v' and class.relpersistence <> 't'
order by class.oid
"""

READ = """
with recursive reads (reader, id) as (
    select rule.ev_class, depends.refobjid
    from pg_catalog.pg_depend as depends
    join pg_catalog.pg_rewrite as rule on rule.oid = depends.objid
    where depends.classid = 'pg_catalog.pg_rewrite'::regclass
        and depends.refclassid = 'pg_catalog.pg_class'::regclass
        and depends.refobjid = any(%(oids)s::oid[]) and rule.ev_class <> depends.refobjid
    union
    select rule.ev_class, depends.refobjid
    from reads
    join pg_catalog.pg_depend as depends
        on depends.classid = 'pg_catalog.pg_rewrite'::regclass
        and depends.refclassid = 'pg_catalog.pg_class'::regclass
        and depends.refobjid = reads.reader
    join pg_catalog.pg_rewrite as rule on rule.oid = depends.objid
    where rule.ev_class <> depends.refobjid
)
select distinct reader::bigint, id::bigint from reads
"""

# What belongs to a relation goes where it goes, so it is followed and not listed.
ALL = """
with recursive found (class, id, part, level) as (
    select 'pg_catalog.pg_class'::regclass::oid, %(oid)s::oid, 0, 0
    union
    select next.class, next.id, next.part, least(found.level + next.step, 2)
    from found
    cross join lateral (
        select case
                when depends.classid = 'pg_catalog.pg_rewrite'::regclass
                    then 'pg_catalog.pg_class'::regclass::oid
                else depends.classid
            end,
            coalesce(rule.ev_class, depends.objid),
            case when rule.oid is null then depends.objsubid else 0 end,
            case
                when depends.deptype = 'i' and rule.oid is null then 0
                else 1
            end
        from pg_catalog.pg_depend as depends
        left join pg_catalog.pg_rewrite as rule
            on rule.oid = depends.objid and depends.classid = 'pg_catalog.pg_rewrite'::regclass
        where depends.refclassid = found.class and depends.refobjid = found.id
            and (found.part = 0 or depends.refobjsubid = found.part)
            and depends.deptype in ('n', 'a', 'i')
            and (rule.oid is null or rule.ev_class <> depends.refobjid)
    ) as next (class, id, part, step)
),
nearest as (
    select class, id, part, min(level) as level from found
    where not (class = 'pg_catalog.pg_class'::regclass and id = %(oid)s)
    group by class, id, part
)
select object.type, object.identity, nearest.level = 1 as direct,
    pg_catalog.pg_get_userbyid(coalesce(class.relowner, proc.proowner))::text as owner,
    (
        select coalesce(pg_catalog.json_agg(distinct attribute.attname), '[]')
        from pg_catalog.pg_depend as depends
        join pg_catalog.pg_attribute as attribute
            on attribute.attrelid = depends.refobjid and attribute.attnum = depends.refobjsubid
        where depends.refclassid = 'pg_catalog.pg_class'::regclass
            and depends.refobjid = %(oid)s and depends.refobjsubid > 0
            and (
                depends.classid = nearest.class and depends.objid = nearest.id
                or depends.classid = 'pg_catalog.pg_rewrite'::regclass
                and nearest.class = 'pg_catalog.pg_class'::regclass
                and exists (
                    select from pg_catalog.pg_rewrite as rule
                    where rule.oid = depends.objid and rule.ev_class = nearest.id
                )
            )
    ) as columns
from nearest
left join pg_catalog.pg_class as class
    on nearest.class = 'pg_catalog.pg_class'::regclass and class.oid = nearest.id
left join pg_catalog.pg_proc as proc
    on nearest.class = 'pg_catalog.pg_proc'::regclass and proc.oid = nearest.id
left join pg_catalog.pg_constraint as con
    on nearest.class = 'pg_catalog.pg_constraint'::regclass and con.oid = nearest.id
left join pg_catalog.pg_policy as policy
    on nearest.class = 'pg_catalog.pg_policy'::regclass and policy.oid = nearest.id
cross join lateral pg_catalog.pg_identify_object(
    nearest.class, nearest.id, nearest.part
) as object
where class.relkind in ('v', 'm', 'f') and nearest.part = 0
    or class.relkind in ('r', 'p') and (nearest.part = 0 or class.oid <> %(oid)s)
    or proc.oid is not null
    or con.confrelid <> 0 and con.conrelid <> %(oid)s and con.conparentid = 0
    or policy.polrelid <> %(oid)s
order by direct desc, object.type, object.identity
"""


def direct_views(session: Session, oids: Sequence[int], parts: Sequence[int]) -> list[View]:
    """The views that read any of these relations, outermost first.

    `parts` are the live relations that are swapped themselves; they are left out. A view aside that
    names a live relation is not: moved into its place it would go on reading the former one.
    """
    values = {"oids": [*oids], "parts": [*parts]}
    with session.qualified():
        found = [
            View(
                row["oid"],
                Name("", row["schema"], row["name"]),
                row["owner"],
                tuple((name, value) for name, value in row["options"]),
                row["definition"].strip().removesuffix(";"),
                tuple((oid, tuple(columns)) for oid, columns, _ in row["uses"]),
                tuple((oid, written) for oid, _, written in row["uses"]),
            )
            for row in session.rows(DIRECT, values)
        ]
    if len(found) < 2:
        return found
    readers: dict[int, list[int]] = {}
    for row in session.rows(READ, values):
        readers.setdefault(row["id"], []).append(row["reader"])
    views = {view.oid: view for view in found}
    return [views[oid] for oid in outermost_first(readers, [*oids]) if oid in views]


def outermost_first(readers: Mapping[int, Sequence[int]], start: Sequence[int]) -> list[int]:
    """All that read `start`, each after what reads it. A circle, which only a broken pair of views
    can make, is cut anywhere."""
    order: dict[int, None] = {}
    seen: set[int] = set()
    stack: list[tuple[int, Iterator[int]]] = [(oid, iter(readers.get(oid, ()))) for oid in start]
    while stack:
        oid, rest = stack[-1]
        following = next(rest, None)
        if following is None:
            order.setdefault(oid)
            stack.pop()
        elif following not in seen:
            seen.add(following)
            stack.append((following, iter(readers.get(following, ()))))
    return [*order]


def all_of(session: Session, oid: int) -> list[Dependent]:
    """Everything outside of the relation that depends on it, directly or not."""
    with session.qualified():
        return [
            Dependent(
                row["type"],
                row["identity"],
                row["owner"] or "",
                tuple(row["columns"]) if row["direct"] else (),
                row["direct"],
            )
            for row in session.rows(ALL, {"oid": oid})
        ]


def replaced(view: View, definition: str, at: Name | None = None) -> str:
    """The statement that gives the view at `at`, or the view itself, this query and its options.

    To be run in `Session.qualified`. It keeps the view's OID, owner, rights, comments, defaults,
    triggers and rules.
    """
    options = ", ".join(f"{quoted(name)} = {literal(value)}" for name, value in view.options)
    return (
        f"create or replace view {at or view.name}"
        f"{f' with ({options})' if options else ''} as\n{definition}"
    )


TOKEN = re.compile(r"""'(?:[^'\\]|''|\\.)*'|(?:"(?:[^"]|"")*"|[^\s()"',])+|[(),]""", re.DOTALL)
"""Of a query that the server has written: a string, a name with its schema or a word, a sign."""


def by_position(view: View, oid: int, before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether the view's query gives names to columns by positions at which other columns come.

    Where the query calls columns otherwise than the table does, or where two columns of a join have
    one name, the server writes a list of names: `t x(a, b)`, `(t JOIN u ON …) j(a, b, c)`. Read
    again for other columns, such a list may mean others without any error.
    """
    if [*before] == [*after]:
        return False
    relation = dict(view.written).get(oid, "")
    at_start = [*after[: len(before)]] == [*before]
    return any(
        is_join or (what == relation and not at_start)
        for what, is_join in _lists_of_names(view.definition)
    )


def _lists_of_names(query: str) -> Iterator[tuple[str, bool]]:
    """What stands before each list of names in a FROM: a relation as it is written, or a join."""
    tokens = [*TOKEN.finditer(query)]
    groups: list[list[str]] = [[]]
    """The words of each parenthesis that is open, without those of inner ones."""
    closed: list[str] = []
    for place, token in enumerate(tokens):
        text = token[0]
        if text == "(":
            groups.append([])
        elif text == ")":
            closed = groups.pop() if len(groups) > 1 else []
        else:
            groups[-1].append(text)
        if place + 2 >= len(tokens) or text in ("(", ","):
            continue
        name, opening = tokens[place + 1], tokens[place + 2]
        apart = token.end() < name.start() and name.end() == opening.start()
        if apart and opening[0] == "(" and name[0] not in ("(", ")", ","):
            is_join = text == ")" and "JOIN" in closed and closed[0] not in ("SELECT", "WITH")
            yield text, is_join
