"""In a `build` tests hold up what is downstream of them: our few edges say what dbt's many say.

dbt looks at its graph in four ways, and all four are compared: what is downstream of a node (that
is skipped with it), the parts of the graph that a selection leaves, the levels that order the
queue, and the order in which the queue gives its nodes out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import networkx
import pytest
from dbt.compilation import Linker
from dbt.graph import Graph
from dbt.graph.queue import GraphQueue
from dbt.node_types import NodeType

from mage_dbt.dbt.graph import CompiledGraph, edges_of_tests

TABLES = ("nodes", "sources", "exposures", "functions", "metrics", "unit_tests")


class Manifest(SimpleNamespace):
    """What dbt's Linker and GraphQueue read of a manifest, for a graph that was made up."""

    def __init__(self) -> None:
        super().__init__(**{name: {} for name in TABLES})
        self.semantic_models: dict[str, Any] = {}
        self.saved_queries: dict[str, Any] = {}
        self.child_map: dict[str, list[str]] = {}

    def add(self, table: str, unique_id: str, reads: list[str]) -> None:
        kind = unique_id.split(".")[0]
        getattr(self, table)[unique_id] = SimpleNamespace(
            unique_id=unique_id,
            resource_type=NodeType(kind),
            depends_on_nodes=reads,
            is_ephemeral=False,
            config=SimpleNamespace(incremental_strategy=None),
        )
        self.child_map[unique_id] = []
        for one in dict.fromkeys(reads):
            self.child_map[one].append(unique_id)

    def expect(self, unique_id: str) -> Any:
        return next(
            found[unique_id] for name in TABLES if unique_id in (found := getattr(self, name))
        )


def made_up(chance: random.Random) -> Manifest:
    """Sources, seeds, models in versions, functions, snapshots, exposures; tests of one and of many
    of them, tests of nothing, and unit tests."""
    manifest = Manifest()
    refable: list[str] = []
    for number in range(chance.randrange(4)):
        manifest.add("sources", f"source.p.raw.s{number}", [])
        refable.append(f"source.p.raw.s{number}")
    dense = chance.choice([1, 2, 5])
    for number in range(chance.randrange(2, 25)):
        kind = chance.choice(["model"] * 6 + ["seed", "function", "snapshot"])
        name = f"{kind}.p.n{number}{chance.choice(['', '', '.v2'])}"
        reads = chance.sample(refable, min(len(refable), chance.randrange(dense + 1)))
        table = "functions" if kind == "function" else "nodes"
        manifest.add(table, name, [] if kind == "seed" else reads)
        refable.append(name)
    for number in range(chance.randrange(20)):
        size = min(len(refable), chance.choice([0, 1, 1, 1, 2, 2, 3, 5]))
        reads = chance.sample(refable, size)
        # A relationship of a model with itself names it twice.
        manifest.add("nodes", f"test.p.t{number}", reads + reads[:1] * chance.randrange(2))
    for one in [one for one in refable if one.startswith("model.")]:
        if chance.random() < 0.2:
            manifest.add("unit_tests", f"unit_test.p.{one}", [one])
        if chance.random() < 0.1:
            manifest.add("exposures", f"exposure.p.{one}", [one])
    return manifest


def dbts(manifest: Manifest) -> networkx.DiGraph:
    linker = Linker()
    linker.link_graph(manifest)
    linker.add_test_edges_1(manifest)
    return linker.graph


def ours(manifest: Manifest) -> networkx.DiGraph:
    linker = Linker()
    linker.link_graph(manifest)
    graph = linker.graph
    tests = {
        one: node.depends_on_nodes
        for one, node in manifest.nodes.items()
        if node.resource_type == NodeType.Test
    }
    graph.add_edges_from(edges_of_tests(graph, tests, manifest.nodes.keys() - tests.keys()))
    return graph


def given_out(graph: networkx.DiGraph, manifest: Manifest, selected: set[str]) -> Iterator[str]:
    """Node by node, as dbt with one thread runs them."""
    queue = GraphQueue(graph, manifest, selected)
    while not queue.empty():
        node = queue.get(block=False)
        yield node.unique_id
        queue.mark_done(node.unique_id)


@pytest.mark.parametrize("seed", range(150))
def test_what_waits_for_which_test_is_what_dbt_says(seed: int) -> None:
    chance = random.Random(seed)
    manifest = made_up(chance)
    theirs, mine = dbts(manifest), ours(manifest)
    assert set(mine.edges) <= set(theirs.edges)
    for node in theirs:
        assert networkx.descendants(mine, node) == networkx.descendants(theirs, node), node
    everything = set(theirs.nodes)
    for selected in (
        everything,
        *(set(chance.sample(sorted(everything), chance.randrange(len(everything)))) for _ in "abc"),
    ):
        parts = [
            CompiledGraph(mine).get_subset_graph(selected).graph,
            Graph(theirs).get_subset_graph(selected).graph,
        ]
        closed = [set(networkx.transitive_closure_dag(one).edges) for one in parts]
        assert closed[0] == closed[1]
        scores = [GraphQueue(one.copy(), manifest, selected)._scores for one in parts]
        assert scores[0] == scores[1]
        orders = [list(given_out(one, manifest, selected)) for one in parts]
        assert orders[0] == orders[1]


def test_edges_grow_with_the_graph_and_not_with_its_square() -> None:
    graph = networkx.DiGraph()
    networkx.add_path(graph, [f"model.{number}" for number in range(3000)])
    tests = {f"test.{number}": [f"model.{number}"] for number in range(3000)}
    tests |= {f"test.pair.{one}": [f"model.{one}", "model.0"] for one in range(1, 3000)}
    models = list(graph)
    for test, reads in tests.items():
        graph.add_edges_from((one, test) for one in reads)
    found = edges_of_tests(graph, tests, frozenset(models))
    assert len(found) == 2 * 2999 - 1
