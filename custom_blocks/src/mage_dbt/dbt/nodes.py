"""Questions about dbt's nodes that more than one module asks."""

from __future__ import annotations

from typing import Any

from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags

NEVER_RUN = frozenset(
    {"source", "exposure", "metric", "semantic_model", "saved_query", "macro", "doc", "group"}
)
"""Resource types that no command executes; `build` names exposures and saved queries and goes on.
A command executes whatever else it selects: `compile` an analysis, for example."""

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


def label(manifest: Manifest, unique_id: str) -> str:
    """A node's name as people select it; the unique id of what no run executes."""
    node = node_in(manifest, unique_id)
    return unique_id if isinstance(node, Unplanned) else name_of(node)


def runs(node: Any) -> bool:
    """Whether a command that selects this node executes it."""
    return str(node.resource_type) not in NEVER_RUN


def is_test(node: Any) -> bool:
    return str(node.resource_type) in ("test", "unit_test")


def generic_test_of(node: Any) -> str:
    """The generic test of which this one is made, in YAML's words: `not_null`, `dbt_utils.recency`.

    Empty for any other node.
    """
    metadata = getattr(node, "test_metadata", None)
    if metadata is None:
        return ""
    return ".".join(filter(None, (metadata.namespace, metadata.name)))


def reads_of(node: Any) -> list[str]:
    """Unique ids of what a node reads. A seed depends on macros only."""
    return list(getattr(getattr(node, "depends_on", None), "nodes", ()))


def materialized_as(node: Any) -> str:
    """Its materialization, in dbt's word; empty for what has none."""
    return str(getattr(getattr(node, "config", None), "materialized", ""))


def key_of(node: Any) -> tuple[str, ...]:
    """`unique_key`: columns, or one SQL expression; empty for a node without one."""
    key = getattr(getattr(node, "config", None), "unique_key", None)
    if not key:
        return ()
    return tuple(map(str, key)) if isinstance(key, (list, tuple)) else (str(key),)


def name_of(node: Any) -> str:
    """A model's name as people select it: with its version, if it has one."""
    wanted = getattr(node, "version", None)
    return str(node.name) if wanted in (None, "") else f"{node.name}.v{wanted}"


def flag(name: str) -> bool:
    """Whether this run has the flag: by its arguments, environment or the project's `flags:`."""
    return bool(getattr(get_flags(), name, False))  # not every command has every flag


def full_refresh(node: Any) -> bool:
    """dbt's macro `should_full_refresh`: the configuration beats the flag, both ways."""
    configured = getattr(node.config, "full_refresh", None)
    return bool(flag("FULL_REFRESH") if configured is None else configured)


def stores_failures(node: Any) -> bool:
    """dbt's macro `should_store_failures`."""
    configured = getattr(node.config, "store_failures", None)
    return bool(flag("STORE_FAILURES") if configured is None else configured)
