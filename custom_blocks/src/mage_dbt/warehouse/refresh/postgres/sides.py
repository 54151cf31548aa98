"""The two sides of a refresh as they are read: columns, keys, how values are compared and shown.

Values are compared by the server's `=` only where that means what people take for equal. For other
types (json and point have no `=`, that of box compares areas, that of citext ignores case) it is
their text that counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg2

from mage_dbt.base import redaction
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.postgres import fold
from mage_dbt.warehouse.session import Session, words

EXACT = frozenset({"int2", "int4", "int8", "numeric"})

TEXTS = frozenset({"text", "varchar", "bpchar"})

NATIVE = (
    EXACT
    | TEXTS
    | frozenset(
        {
            *("bool", "float4", "float8", "date", "time", "timetz", "timestamp", "timestamptz"),
            *("uuid", "bytea", "jsonb", "money", "inet", "cidr", "macaddr", "macaddr8"),
            *("bit", "varbit", "name", "char", "oid"),
        }
    )
)
"""Types of the server whose `=` compares all of a value. That of interval does not: for it a month
is 30 days."""

BOOLEANS = {"t": "true", "f": "false"}
"""What a cast to text writes, by what the server's own output of the type is."""

LONGEST_SHOWN = 200
"""Characters of a value in a sample."""

LONGEST_READ = 1200
"""Characters of a value that are read for a sample: a secret is found whole before it is cut."""

WORDS = re.compile(r"\w+")

RELATION = """
select class.oid, class.relkind::text as kind, greatest(class.reltuples, 0)::bigint as row_estimate
from pg_catalog.pg_class as class
join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
where space.nspname = %(schema)s and class.relname = %(name)s
    and class.relkind in ('r', 'p', 'v', 'm', 'f')
"""

OF_RELATION = """
select attnum::int, attname::text, atttypid, pg_catalog.format_type(atttypid, atttypmod)
from pg_catalog.pg_attribute
where attrelid = %(oid)s and attnum > 0 and not attisdropped
"""

OF_EXPRESSION = """
select 1, ''::text, pg_catalog.pg_typeof(value)::oid, pg_catalog.pg_typeof(value)::text
from (select (select (
{expression}
) from {relation} limit 0) as value) as found
"""
"""Reads no row. The expression's last line may be a comment."""

KINDS = """
with recursive given (place, name, type, described) as ({given}),
base (place, id) as (
    select place, type from given
    union all
    select base.place, domain.typbasetype
    from base
    join pg_catalog.pg_type as domain on domain.oid = base.id and domain.typtype = 'd'
)
select given.name, given.described, kind.oid, kind.typcollation <> 0 as collated,
    case when kind.typnamespace = 'pg_catalog'::regnamespace then kind.typname::text else '' end
        as word,
    coalesce(item.typname::text, '') as item,
    kind.typtype = 'e' as is_enum,
    exists (
        select from pg_catalog.pg_opclass as class
        join pg_catalog.pg_am as method on method.oid = class.opcmethod
        where class.opcdefault and class.opcintype = kind.oid and method.amname in ('btree', 'hash')
    ) as groups
from given
join base on base.place = given.place
join pg_catalog.pg_type as kind on kind.oid = base.id and kind.typtype <> 'd'
left join pg_catalog.pg_type as item
    on item.oid = kind.typelem and item.typarray = kind.oid
    and item.typnamespace = 'pg_catalog'::regnamespace
order by given.place
"""
"""Domains are what they are made of."""


@dataclass(frozen=True)
class Column:
    """A column, or an expression with an empty name."""

    name: str
    type: str
    """As the server writes it, with its length or precision."""
    oid: int
    """Of the type, or of what a domain is made of."""
    word: str
    """The type's name if it is one of the server's own."""
    native: bool
    """Whether the type's `=` is asked; otherwise values are compared as text."""
    groups: bool
    """Whether the server can group by it."""
    collated: bool

    def shown(self, value: str) -> str:
        """SQL of the text that people see, cut off."""
        if self.word == "bytea":  # the text of all of it may be longer than the server allows
            part = f"pg_catalog.substr({value}, 1, {LONGEST_READ // 2})"
            return f"('\\x' || pg_catalog.encode({part}, 'hex'))"
        return f'pg_catalog.left(({value})::text, {LONGEST_READ}) collate "C"'

    def written(self, item: str) -> str:
        """The text of a value out of an array's text: there a boolean is `t` or `f`."""
        return BOOLEANS.get(item, item) if self.word == "bool" else item

    def grouped(self, value: str) -> str:
        """SQL by which the server finds equal values, as a unique index would."""
        return value if self.native or self.groups else f"({value})::text"


@dataclass(frozen=True)
class Side:
    """The present relation, or the one that is to take its place."""

    name: str
    """In SQL, with its schema."""
    oid: int
    is_table: bool
    """Whether the server keeps rows and statistics of it: a table or a materialized view."""
    row_estimate: int
    columns: Mapping[str, Column]


@dataclass(frozen=True)
class Item:
    """A part of a key in one relation."""

    text: str
    """As the model has it."""
    sql: str
    """A column in quotes, or the expression in parentheses."""
    column: Column

    @property
    def null(self) -> str:
        """SQL that is true where it is null; of a record, where any part is."""
        return f"({self.sql} is not null) is not true"


def in_sql(name: Name) -> str:
    """The name for a statement, without the database, which is the connection's."""
    return str(replace(name, database=""))


def read(session: Session, name: Name) -> Side | None:
    """The relation; None where there is none of this name."""
    found = session.rows(RELATION, {"schema": name.schema, "name": name.name})
    if not found:
        return None
    [row] = found
    columns = session.rows(KINDS.format(given=OF_RELATION), {"oid": row["oid"]})
    return Side(
        in_sql(name),
        row["oid"],
        row["kind"] in "rpm",
        row["row_estimate"],
        {column["name"]: _column(column) for column in columns},
    )


def _column(row: Mapping[str, Any]) -> Column:
    native = row["word"] in NATIVE or row["item"] in NATIVE or row["is_enum"]
    return Column(
        row["name"],
        row["described"],
        row["oid"],
        row["word"],
        native,
        row["groups"],
        row["collated"],
    )


def items(session: Session, side: Side, key: Sequence[str]) -> tuple[Item, ...]:
    """The parts of the key in this relation. The server raises an error where they do not fit it.

    dbt writes `unique_key` into its statements as it is. So a name without quotes is folded.
    """
    return tuple(_item(session, side, text) for text in key)


def _item(session: Session, side: Side, text: str) -> Item:
    for name in (fold(text), text):
        if name in side.columns:
            return Item(text, quoted(name), side.columns[name])
    given = OF_EXPRESSION.format(expression=text, relation=side.name)
    [row] = session.rows(KINDS.format(given=given))
    return Item(text, f"(\n{text}\n)", _column(row))


def is_about_statement(error: psycopg2.Error) -> bool:
    """Whether an error leaves the connection usable. Class 57 are shutdowns and cancellations."""
    return bool(error.pgcode) and error.pgcode[:2] not in ("57", "08")


def reason(error: psycopg2.Error) -> str:
    """What the server says, without known secrets."""
    return redaction.scrub(words(error))


def alike(before: Column, after: Column) -> Callable[[str], str]:
    """What makes SQL of a value of either side, so that `=` and `is distinct from` compare them."""
    words = {before.word, after.word}
    if before.oid == after.oid and before.native:
        return (lambda value: f'{value} collate "C"') if before.collated else (lambda value: value)
    if words <= EXACT:
        return lambda value: value
    if words <= EXACT | {"float8"}:
        return lambda value: f"({value})::float8"
    return _text


def texts(before: Column, after: Column) -> Callable[[str], str]:
    """What makes SQL of a value's text, the same for values that `alike` takes for equal."""
    words = {before.word, after.word}
    if words <= EXACT and "numeric" in words:
        return lambda value: _text(f"pg_catalog.trim_scale(({value})::numeric)")
    if "float8" in words and words <= EXACT | {"float8"}:
        return lambda value: _text(f"(({value})::float8 + 0)")  # minus zero is zero
    if words == {"float4"}:
        return lambda value: _text(f"({value} + 0)")
    return _text


def _text(value: str) -> str:
    return f'({value})::text collate "C"'


class Shown:
    """Values as people see them: stars for what is hidden, no known secrets, cut off."""

    def __init__(self, hides: Callable[[str], bool]) -> None:
        self._hides = hides
        self._scrub = redaction.scrubber()

    def value(self, column: str, text: str | None) -> str | None:
        """A value of a column."""
        return redaction.STARS if text is not None and self._hides(column) else self._short(text)

    def row(self, columns: Iterable[str], texts: Sequence[str | None]) -> dict[str, str | None]:
        """By column."""
        return {name: self.value(name, text) for name, text in zip(columns, texts, strict=True)}

    def key(self, items: Iterable[Item], text: str | None) -> str:
        """A key. One part that is hidden, or an expression with such a name, hides it all."""
        names = (name for item in items for name in (item.column.name, *WORDS.findall(item.text)))
        return redaction.STARS if any(map(self._hides, names)) else self._short(text) or ""

    def _short(self, text: str | None) -> str | None:
        if text is None:
            return None
        text = self._scrub(text)
        return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def named(key: Sequence[str]) -> str:
    """`order_id and line`, for a sentence."""
    return " and ".join((", ".join(key[:-1]), key[-1]) if len(key) > 1 else key)
