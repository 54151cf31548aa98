"""dbt's graph in time that grows with its edges: parts of it, edges of tests, relations read.

dbt's own ways take longer on large projects: a search from every node, or a copy of the whole graph
for each part. Here a set of nodes is one large number with a bit for each, so that joining two sets
takes one step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import reduce
from operator import and_
from typing import Any

import networkx
from dbt.graph import Graph

from mage_dbt.dbt.nodes import WRITTEN, reads_of


class CompiledGraph(Graph):  # type: ignore[misc]
    """A graph that does not change any more. It gives the same parts as dbt's own.

    dbt takes a part by copying the whole graph and removing what is not selected. That costs as
    much for one model as for all: with 500 models and their tests, 60 % of a run's own time.
    """

    def __init__(self, graph: networkx.DiGraph) -> None:
        super().__init__(graph)
        self._levels: dict[str, int] = {}
        for level, nodes in enumerate(networkx.topological_generations(graph)):
            self._levels.update(dict.fromkeys(nodes, level))

    def subgraph(self, nodes: Iterable[str]) -> Graph:
        """As dbt's own; the whole graph is not filtered edge by edge."""
        part = set(nodes)
        return Graph(self.graph) if part == self._levels.keys() else super().subgraph(part)

    def get_subset_graph(self, selected: Iterable[str]) -> Graph:
        """The selected nodes; an edge stands for each path with no other selected node on it.

        Every edge leads to a higher level, so no path is followed beyond the highest level
        selected. Each node between is visited once: the selected nodes after it are one number.
        """
        wanted = list(dict.fromkeys(selected))
        levels, after = self._levels, self.graph.succ
        if missing := set(wanted) - levels.keys():
            raise ValueError(
                f"Couldn't find model '{min(missing)}' -- does it exist or is it disabled?"
            )
        part = networkx.DiGraph()
        part.add_nodes_from(wanted)
        nearest = {node: 1 << bit for bit, node in enumerate(wanted)}
        highest = max((levels[node] for node in wanted), default=0)
        between: set[str] = set()
        waiting = wanted.copy()
        while waiting:
            for node in after[waiting.pop()]:
                if node not in nearest and node not in between and levels[node] < highest:
                    between.add(node)
                    waiting.append(node)

        def behind(node: str) -> int:
            found = 0
            for next_node in after[node]:
                found |= nearest.get(next_node, 0)
            return found

        for node in sorted(between, key=levels.__getitem__, reverse=True):
            nearest[node] = behind(node)
        for begin in wanted:
            part.add_edges_from((begin, wanted[bit]) for bit in _bits_of(behind(begin)))
        return Graph(part)


def edges_of_tests(
    graph: networkx.DiGraph, tests: Mapping[str, Iterable[str]], waiting: Collection[str]
) -> set[tuple[str, str]]:
    """Pairs of a test and a node that comes after it in a `build`, as few as say the same.

    `graph` has no such edges yet. `tests` gives what each test reads; `waiting` are the nodes that
    wait for tests.

    dbt's rule (`Linker.add_test_edges_1`): a node comes after a test when all that the test reads
    is upstream of the node. dbt adds an edge for each such pair: 172,000 with 500 models. A node
    that follows another which already comes after the test needs no edge of its own. Only edges
    that a longer path replaces are left out, so dbt skips the same and keeps the same order.

    dbt's own faster way (the flag `use_fast_test_edges`) is not the same. It loses tests that read
    a source and something else, and nodes behind a function.
    """
    alike: dict[frozenset[str], list[str]] = {}
    for test, reads in tests.items():
        alike.setdefault(frozenset(reads), []).append(test)
    by_size: dict[int, list[frozenset[str]]] = {}
    for reads in alike:
        if reads:
            by_size.setdefault(len(reads), []).append(reads)
    sorted_nodes = networkx.topological_sort(graph)
    order = [node for node in sorted_nodes if graph.succ[node] or node in waiting]
    return {
        (test, node)
        for size, sets in by_size.items()
        for node, reads in _first_complete(graph, order, size, sets, waiting)
        for test in alike[reads]
    }


def _first_complete(
    graph: networkx.DiGraph,
    order: list[str],
    size: int,
    sets: list[frozenset[str]],
    waiting: Collection[str],
) -> Iterator[tuple[str, frozenset[str]]]:
    """Nodes of `waiting` with the sets that are upstream of them, and of no `waiting` node before.

    Each set has `size` members. For the first member, the second and so on, each node has a
    number: bit b says that this member of set b is upstream of it.
    """
    own: list[dict[str, int]] = [{} for _ in range(size)]
    for bit, members in enumerate(sets):
        for member, numbers in zip(sorted(members), own, strict=True):
            numbers[member] = numbers.get(member, 0) | 1 << bit
    upstream: list[dict[str, int]] = [{} for _ in range(size)]
    waited: dict[str, int] = {}
    for node in order:
        before = list(graph.predecessors(node))
        for numbers, of_node in zip(upstream, own, strict=True):
            found = 0
            for up in before:
                found |= numbers[up] | of_node.get(up, 0)
            numbers[node] = found
        waited[node] = 0
        for up in before:
            waited[node] |= waited[up]
        if node in waiting:
            complete = reduce(and_, (numbers[node] for numbers in upstream))
            new = complete & ~waited[node]
            waited[node] |= new
            for bit in _bits_of(new):
                yield node, sets[bit]


def relations_read(
    planned: Mapping[str, Any], node_of: Callable[[str], Any]
) -> dict[str, tuple[str, ...]]:
    """The project's tables and views that each planned node reads, sorted, by unique id.

    This includes what an ephemeral model reads, and what a view reads: when a table below a view is
    replaced, the view falls with it. Views of the same plan list what they read themselves, and
    their readers do not: else 20 layers of views would list it 20 times.
    """
    seen = _Seen(planned, node_of)
    return {unique_id: seen.by(node) for unique_id, node in planned.items()}


class _Seen:
    """What is read through each node, found once for all readers: a bit for each relation."""

    def __init__(self, planned: Mapping[str, Any], node_of: Callable[[str], Any]) -> None:
        self._planned = planned
        self._node_of = node_of
        self._names: list[str] = []
        self._through: dict[str, int] = {}

    def by(self, node: Any) -> tuple[str, ...]:
        found = 0
        for up in reads_of(node):
            found |= self._through_node(up)
        return tuple(sorted({self._names[bit] for bit in _bits_of(found)}))

    def _through_node(self, first: str) -> int:
        """Keeps its own stack: a chain of models may be longer than Python's."""
        stack = [first]
        while stack:
            unique_id = stack[-1]
            behind = list(self._behind(unique_id))
            missing = [up for up in behind if up not in self._through]
            if missing and unique_id not in self._through:
                stack += missing
                continue
            stack.pop()
            if unique_id not in self._through:
                found = self._own(unique_id)
                for up in behind:
                    found |= self._through[up]
                self._through[unique_id] = found
        return self._through[first]

    def _own(self, unique_id: str) -> int:
        node = self._node_of(unique_id)
        name = getattr(node, "relation_name", None)
        if not name or str(node.resource_type) not in WRITTEN:
            return 0
        self._names.append(name)
        return 1 << len(self._names) - 1

    def _behind(self, unique_id: str) -> Iterator[str]:
        node = self._node_of(unique_id)
        if str(node.resource_type) not in WRITTEN:
            return
        named = bool(getattr(node, "relation_name", None))
        is_view = named and str(node.config.materialized) == "view"
        if not named or (is_view and unique_id not in self._planned):
            yield from reads_of(node)


def _bits_of(number: int) -> Iterator[int]:
    """The positions of the bits that are set, lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
