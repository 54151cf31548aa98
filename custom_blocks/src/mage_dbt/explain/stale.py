"""Which relations still show an earlier state because of a cause, and who reads them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mage_dbt.ledger.failures import Pass
from mage_dbt.model.explanation import Stale
from mage_dbt.model.graph import Graph
from mage_dbt.model.run import NodeResult

RELATIONS = ("model", "seed", "snapshot")
"""Resource types of dbt that leave a relation."""


def stale(
    results: Iterable[NodeResult],
    passes: Mapping[str, Pass],
    repaired: set[str],
    exposures: Mapping[str, tuple[str, ...]],
) -> tuple[Stale, ...]:
    """The relations among results that did not pass, without those that have passed since.

    `passes` are the last passes by node, `exposures` the labels of what reads a node.
    """
    return tuple(
        Stale(
            result.node,
            result.name,
            passes[result.node].at if result.node in passes else None,
            exposures.get(result.node, ()),
        )
        for result in results
        if result.type in RELATIONS
        and result.materialized != "ephemeral"
        and result.node not in repaired
    )


def exposures_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """By node, the labels of the exposures that read it, also through others."""
    found: dict[str, list[str]] = {}
    for exposure in graph.nodes.values():
        if exposure.type == "exposure":
            for node in graph.upstream([exposure.node]):
                found.setdefault(node, []).append(exposure.label or exposure.name)
    return {node: tuple(sorted(labels)) for node, labels in found.items()}
