"""The part of a graph that a run works through is the one dbt's own code takes."""

from __future__ import annotations

import random

import networkx
import pytest
from dbt.graph import Graph

from mage_dbt.dbt.graph import CompiledGraph


@pytest.mark.parametrize("seed", range(40))
def test_any_part_of_any_graph_has_the_nodes_and_edges_that_dbt_gives_it(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randrange(1, 40)
    graph = networkx.DiGraph()
    graph.add_nodes_from(f"n{one}" for one in range(size))
    for one in range(size):
        for up in range(one):
            if chance.random() < chance.choice([0.03, 0.1, 0.4]):
                graph.add_edge(f"n{up}", f"n{one}")
    ours, theirs = CompiledGraph(graph), Graph(graph)
    for _ in range(10):
        selected = set(chance.sample(sorted(graph.nodes), chance.randrange(size + 1)))
        mine, dbts = ours.get_subset_graph(selected), theirs.get_subset_graph(selected)
        assert set(mine.graph.nodes) == set(dbts.graph.nodes)
        assert set(mine.graph.edges) == set(dbts.graph.edges)


def test_a_node_that_is_not_in_the_graph_is_refused_in_dbts_words() -> None:
    graph = networkx.DiGraph([("a", "b")])
    for one in (CompiledGraph(graph), Graph(graph)):
        with pytest.raises(ValueError, match=r"Couldn't find model 'c'"):
            one.get_subset_graph({"a", "c"})
