"""What only the warehouse's own kind can tell: what a run's drops take along, rows, identities.

dbt speaks to every adapter alike; these questions have another answer, or none, in each server. A
server that we know has a class of its own. Any other is `Plain`, which says what it cannot know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mage_dbt.warehouse.names import Folding, Name, lower

Query = Callable[[str], list[dict[str, Any]]]
"""Runs one read-only statement on the warehouse and gives its rows by column."""

TABLE, VIEW, MATERIALIZED_VIEW = "table", "view", "materialized_view"
"""What can stand under a relation's name, in dbt's words."""

ANY = frozenset({TABLE, VIEW, MATERIALIZED_VIEW})

KEEP_DEPENDENTS = frozenset(
    ("trino", "duckdb", "snowflake", "bigquery", "spark", "databricks", "athena", "clickhouse")
)
"""Adapters of servers that leave a view alone when the table under it is dropped, by their
documentation. There a view only fails while the table is away."""


@dataclass(frozen=True)
class Target:
    """A relation that a planned node writes."""

    node: str
    """dbt's unique id."""
    rendered: str
    """Its name as dbt writes it in a statement."""
    drops: frozenset[str] = frozenset()
    """What must stand under the name for dbt to drop it with all that depends on it."""
    builds_aside: bool = False
    """Whether dbt builds it under another name first, and puts the old one aside."""


@dataclass(frozen=True)
class Lost:
    """What the drops of a plan take along and none of its nodes brings back."""

    objects: tuple[str, ...] = ()
    """Each with its kind, such as `view bi.orders`."""
    read: tuple[tuple[str, str], ...] = ()
    """Of the plan's own nodes: each that falls with another, and that other, by unique id. It comes
    back only if it is built after."""
    unknown: str = ""
    """Why this cannot be told; empty when it can."""


class Warehouse(Protocol):
    """One kind of server."""

    folding: Folding
    """What it makes of a name without quotes."""

    @property
    def unknown(self) -> str:
        """What a plan on it cannot know, as a sentence; empty when it knows everything."""

    def written(self, target: Target) -> tuple[str, ...]:
        """The relations that nobody else may touch while this one is written."""

    def lost(self, targets: Sequence[Target]) -> Lost:
        """What depends on the relations that stand there now and would be dropped."""

    def granted(self, targets: Sequence[Target]) -> dict[str, dict[str, tuple[str, ...]]]:
        """By node whose relation would be dropped: who has which right on it that one made anew
        would not have by itself, by the right's name. `comment` stands for a comment."""

    def rows(self, targets: Sequence[Target]) -> dict[str, int]:
        """By node, the rows that the server thinks its relation has, where it knows."""

    def keeps_definition(self, rendered: str, sql: str) -> bool:
        """Whether the materialized view that stands there is of another query than `sql`."""


class Plain:
    """A server of which we know only what dbt knows."""

    folding = Folding(lower)  # the widest: what may be one relation counts as one

    def __init__(self, adapter: str) -> None:
        self._adapter = adapter

    @property
    def unknown(self) -> str:
        return f"On {self._adapter} a plan does not know how many rows there are" + (
            "." if self._adapter in KEEP_DEPENDENTS else ", nor what is dropped along."
        )

    def written(self, target: Target) -> tuple[str, ...]:
        return (self.folding.identity(target.rendered),)

    def lost(self, targets: Sequence[Target]) -> Lost:
        if self._adapter in KEEP_DEPENDENTS or not any(one.drops for one in targets):
            return Lost()
        return Lost(unknown=f"it is not known what {self._adapter} drops along with a relation")

    def granted(self, targets: Sequence[Target]) -> dict[str, dict[str, tuple[str, ...]]]:
        return {}

    def rows(self, targets: Sequence[Target]) -> dict[str, int]:
        return {}

    def keeps_definition(self, rendered: str, sql: str) -> bool:
        return False


def warehouse_of(adapter: str, query: Query) -> Warehouse:
    """The warehouse behind an adapter of this type; `query` asks it."""
    if adapter == "postgres":
        from mage_dbt.warehouse.postgres import Postgres

        return Postgres(query)
    return Plain(adapter)


__all__ = [
    "ANY",
    "MATERIALIZED_VIEW",
    "TABLE",
    "VIEW",
    "Lost",
    "Name",
    "Query",
    "Target",
    "Warehouse",
    "warehouse_of",
]
