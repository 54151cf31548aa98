"""The values that describe a relation: what it has besides its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.refresh.postgres.dependents import View

TABLE, VIEW = "r", "v"
"""`pg_class.relkind` of what can be swapped."""

CONSTRAINT_KINDS = {
    "n": "not-null constraint",
    "p": "primary key",
    "u": "unique constraint",
    "x": "exclusion constraint",
    "c": "check constraint",
    "f": "foreign key",
}
"""By `pg_constraint.contype`, in the order in which they are made: a primary key takes the not-null
constraints that are there, else it makes some of its own."""

PUBLIC = ""
"""The grantee of what everybody may."""


@dataclass(frozen=True)
class Grant:
    """A right on a relation or a column."""

    grantee: str
    privilege: str
    grantable: bool
    grantor: str


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    collation: str
    """Empty where it is the type's own."""
    not_null: bool
    default: str | None
    """The expression of a default, or of a generated column."""
    generated: str
    """s for stored, v for virtual."""
    identity: str
    storage: str
    """Empty where it is the type's own."""
    compression: str
    statistics: int | None
    options: tuple[tuple[str, str], ...]
    comment: str | None
    grants: tuple[Grant, ...]


@dataclass(frozen=True)
class Index:
    """An index, also one that belongs to a constraint."""

    name: str
    unique: bool
    definition: str
    """From the access method on."""
    tablespace: str
    valid: bool
    constraint: bool
    columns: tuple[str, ...]
    """Those of the table that it uses anywhere."""
    statistics: tuple[tuple[int, int], ...]
    """The targets of its expressions, by position."""
    comment: str | None

    @property
    def form(self) -> tuple[Any, ...]:
        return (self.unique, self.definition, self.tablespace)


@dataclass(frozen=True)
class Constraint:
    name: str
    kind: str
    """`pg_constraint.contype`."""
    definition: str
    index: str
    """The name of its index; it is that of the constraint."""
    deferrable: bool
    deferred: bool
    period: bool
    """Whether it ends with WITHOUT OVERLAPS; such a constraint makes its index itself."""
    columns: tuple[str, ...]
    comment: str | None


@dataclass(frozen=True)
class Statistics:
    """Extended statistics. They do not move with their table; see `moves`."""

    name: Name
    owner: str
    kinds: str
    definition: str
    """The columns and expressions."""
    columns: tuple[str, ...]
    target: int | None
    comment: str | None


@dataclass(frozen=True)
class Properties:
    """All of a relation that a swap has to keep; equal as long as nobody has changed it."""

    oid: int
    name: Name
    kind: str
    """`pg_class.relkind`."""
    owner: str
    persistence: str
    access_method: str
    tablespace: str
    options: tuple[tuple[str, str], ...]
    """Those of its TOAST table as `toast.…`."""
    comment: str | None
    grants: tuple[Grant, ...]
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    constraints: tuple[Constraint, ...]
    statistics: tuple[Statistics, ...]
    replica_identity: str
    """default, nothing, full, or `index` with the index's name after a blank."""
    cluster: str
    """The index by which the table was clustered."""
    definition: str
    """A view's query."""
    others: tuple[str, ...]
    """Triggers, rules, policies and the like, which are not carried, each with its definition."""
    views: tuple[View, ...]
    """The views that read it directly."""
    filenode: int = field(default=0, compare=False)
    """It changes by TRUNCATE, VACUUM FULL and rewriting changes. 0 for a view."""
    given: tuple[Grant, ...] = field(default=(), compare=False)
    """The rights that a new relation of this owner has in this schema before anybody grants any."""

    @property
    def column_names(self) -> frozenset[str]:
        return frozenset(column.name for column in self.columns)
