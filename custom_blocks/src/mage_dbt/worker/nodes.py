"""Questions about dbt's nodes that more than one part asks."""

from __future__ import annotations

from typing import Any

EXECUTABLE = frozenset({"model", "seed", "snapshot", "test", "unit_test", "function"})
"""Resource types that a run executes; dbt selects exposures, metrics and sources as well."""

WRITTEN = frozenset({"model", "seed", "snapshot", "function"})
"""Resource types that leave a relation in the warehouse."""


class Unplanned:
    """Stands for a node that no run executes: a source, an exposure, a hook."""

    def __init__(self, unique_id: str) -> None:
        self.unique_id = unique_id
        self.resource_type = unique_id.split(".", 1)[0]
        self.name = unique_id.rsplit(".", 1)[-1]


def is_test(node: Any) -> bool:
    return str(node.resource_type) in ("test", "unit_test")


def reads_of(node: Any) -> list[str]:
    """Unique ids of what a node reads; a seed depends on macros only."""
    return list(getattr(getattr(node, "depends_on", None), "nodes", ()))


def name_of(node: Any) -> str:
    """A model's name as people select it: with its version, when it has one."""
    wanted = getattr(node, "version", None)
    return f"{node.name}.v{wanted}" if wanted else str(node.name)
