"""Questions about dbt's nodes that more than one part asks."""

from __future__ import annotations

from typing import Any

from dbt.contracts.graph.manifest import Manifest

NEVER_RUN = frozenset(
    {"source", "exposure", "metric", "semantic_model", "saved_query", "macro", "doc", "group"}
)
"""Resource types that no command does anything with; `build` names exposures and saved queries and
goes on. Whatever else a command selects it executes: an analysis by `compile`, for one."""

WRITTEN = frozenset({"model", "seed", "snapshot", "function"})
"""Resource types that leave a relation in the warehouse."""


class Unplanned:
    """Stands for a node that no run executes: a source, an exposure, one that is disabled."""

    def __init__(self, unique_id: str) -> None:
        self.unique_id = unique_id
        self.resource_type = unique_id.split(".", 1)[0]
        self.name = unique_id.rsplit(".", 1)[-1]


def node_in(manifest: Manifest, unique_id: str) -> Any:
    """The node of the manifest that has this id; an Unplanned when none has that could run."""
    for table in (manifest.nodes, manifest.unit_tests, getattr(manifest, "functions", {})):
        if unique_id in table:
            return table[unique_id]
    return Unplanned(unique_id)


def runs(node: Any) -> bool:
    """Whether a command that selects this node executes it."""
    return str(node.resource_type) not in NEVER_RUN


def is_test(node: Any) -> bool:
    return str(node.resource_type) in ("test", "unit_test")


def reads_of(node: Any) -> list[str]:
    """Unique ids of what a node reads; a seed depends on macros only."""
    return list(getattr(getattr(node, "depends_on", None), "nodes", ()))


def materialized_as(node: Any) -> str:
    """How dbt builds it, in dbt's word; empty for what has no such setting."""
    return str(getattr(getattr(node, "config", None), "materialized", ""))


def name_of(node: Any) -> str:
    """A model's name as people select it: with its version, when it has one."""
    wanted = getattr(node, "version", None)
    return str(node.name) if wanted in (None, "") else f"{node.name}.v{wanted}"
