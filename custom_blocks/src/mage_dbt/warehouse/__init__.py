"""What depends on the kind of warehouse: what a run's drops take along, rows, identities.

dbt speaks to every adapter in the same way, but the answers to these questions differ by server. A
server that we know has its own class. Any other is `Plain`, which says what it cannot know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mage_dbt.warehouse.names import Folding, Name, lower

Query = Callable[[str], list[dict[str, Any]]]
"""Runs one read-only statement on the warehouse; returns its rows, by column."""

TABLE, VIEW, MATERIALIZED_VIEW = "table", "view", "materialized_view"
"""What can stand under a relation's name, in dbt's words."""

ANY = frozenset({TABLE, VIEW, MATERIALIZED_VIEW})

KEEP_DEPENDENTS = frozenset(
    ("trino", "duckdb", "snowflake", "bigquery", "spark", "databricks", "athena", "clickhouse")
)
"""Adapters of servers that keep a view when its table is dropped, by their documentation. There a
view only fails as long as the table is missing."""


@dataclass(frozen=True)
class Target:
    """A relation that a planned node writes."""

    node: str
    """dbt's unique id."""
    rendered: str
    """Its name as dbt writes it in a statement."""
    drops: frozenset[str] = frozenset()
    """What must stand under the name for dbt to drop it, with all that depends on it."""
    builds_aside: bool = False
    """Whether dbt builds it under another name first, and renames the old one."""


@dataclass(frozen=True)
class Lost:
    """What the drops of a plan take along and none of its nodes rebuilds."""

    objects: tuple[str, ...] = ()
    """Each with its kind, such as `view bi.orders`."""
    read: tuple[tuple[str, str], ...] = ()
    """Pairs of the plan's own nodes, by unique id: the first falls with the second. It comes back
    only if dbt builds it later."""
    unknown: str = ""
    """Why this is not known; empty when it is."""


class Warehouse(Protocol):
    """One kind of server."""

    folding: Folding
    """How it reads names."""

    @property
    def unknown(self) -> str:
        """A sentence on what a plan cannot know there; empty when it knows everything."""

    def written(self, target: Target) -> tuple[str, ...]:
        """The relations that no other run may touch while this one is written."""

    def lost(self, targets: Sequence[Target]) -> Lost:
        """What depends on the present relations that would be dropped."""

    def granted(self, targets: Sequence[Target]) -> dict[str, dict[str, tuple[str, ...]]]:
        """Rights that fall with the relations that would be dropped: by node, then by right.

        Those that a new relation gets by default are left out. `comment` stands for a comment.
        """

    def rows(self, targets: Sequence[Target]) -> dict[str, int]:
        """The server's estimate of each relation's rows, by node, where it has one."""

    def keeps_definition(self, rendered: str, sql: str) -> bool:
        """Whether the present materialized view has another query than `sql`."""


class Plain:
    """A server that we know only through dbt; see `Warehouse`."""

    folding = Folding(lower)  # the widest: two names that may be one relation count as one

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
        if self._adapter in KEEP_DEPENDENTS or not any(target.drops for target in targets):
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
