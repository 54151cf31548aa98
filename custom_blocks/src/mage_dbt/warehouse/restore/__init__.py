"""Views that fall with a relation which is rebuilt, and how they come back: the values.

A view reads a relation by its identity in the catalog, not by its name. So a new relation under the
old name has no views, and to drop the old one drops its views, the views on these, and so on. What
they were is read before; afterwards they read the new relation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mage_dbt.model import codec
from mage_dbt.warehouse.names import Name

VIEW, MATERIALIZED_VIEW = "view", "materialized view"
"""The server's words."""


@dataclass(frozen=True)
class Right:
    """A right on a view, or on a column of it."""

    column: str
    """Empty for the whole view."""
    grantee: str
    """Empty for everybody (`public`)."""
    privilege: str
    grantable: bool = False


@dataclass(frozen=True)
class Statement:
    """What gives a view that was made again one more of its properties."""

    what: str
    """Of a sentence: `the index "bi"."by_id"`."""
    sql: str
    early: bool = False
    """Whether it comes before a materialized view has rows."""


@dataclass(frozen=True)
class SavedView:
    """A view as it was before somebody dropped what it reads."""

    oid: int
    name: Name
    kind: str
    definition: str
    """Its query, with every name qualified."""
    version: str
    """Another one after somebody has replaced the query."""
    owner: str
    options: tuple[tuple[str, str], ...] = ()
    """Storage parameters, and `security_invoker`, `check_option` and their like."""
    method: str = ""
    """Of a materialized view: its access method."""
    tablespace: str = ""
    populated: bool = True
    """Of a materialized view: whether it can be read."""
    rights: tuple[Right, ...] = ()
    """All of them, the owner's too."""
    more: tuple[Statement, ...] = ()
    """Comments, column defaults, indexes, statistics, triggers and rules, in their order."""
    reads: tuple[int, ...] = ()
    """OIDs of the relations that it reads directly."""
    nodes: tuple[str, ...] = ()
    """The nodes whose relations it reads, directly or not; empty for a view of the run's own."""
    node: str = ""
    """The node that writes it, if the run has one that does."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name.shown}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SavedView:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)

    def renamed(self, before: str, after: str) -> SavedView:
        """With another text wherever `before` stands, which occurs nowhere by chance."""
        return replace(
            self,
            definition=self.definition.replace(before, after),
            more=tuple(
                replace(statement, sql=statement.sql.replace(before, after))
                for statement in self.more
            ),
        )


class How(StrEnum):
    """What became of a view."""

    KEPT = "kept"
    """It was never gone, and reads the new relation."""
    BACK = "back"
    """It was made again."""
    GONE = "gone"
    """It could not be made again: `problem` says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of one view."""

    view: SavedView
    """As it is now, where it is there."""
    how: How
    problem: str = ""
    notes: tuple[str, ...] = ()
    """Parts of a sentence on what is not as it was: `it is owned by dbt now`."""


def groups(views: Sequence[SavedView]) -> list[list[SavedView]]:
    """Views that read each other, directly or not, together; the order within stays."""
    place: dict[int, list[SavedView]] = {}
    for view in views:
        joined = [view]
        for group in {id(place[oid]): place[oid] for oid in view.reads if oid in place}.values():
            joined = [*group, *joined]
        for member in joined:
            place[member.oid] = joined
    found = {id(group): group for group in place.values()}
    order = {view.oid: number for number, view in enumerate(views)}
    return [sorted(group, key=lambda view: order[view.oid]) for group in found.values()]


def reaching(
    reads: Mapping[int, Collection[int]], nodes: Mapping[int, str]
) -> dict[int, tuple[str, ...]]:
    """The nodes that each relation reads, directly or not. `reads` has each after what it reads."""
    found: dict[int, frozenset[str]] = {}
    for oid, below in reads.items():
        found[oid] = frozenset().union(
            *(found.get(other, frozenset()) for other in below),
            *({nodes[other]} for other in below if other in nodes),
        )
    return {oid: tuple(sorted(names)) for oid, names in found.items()}
