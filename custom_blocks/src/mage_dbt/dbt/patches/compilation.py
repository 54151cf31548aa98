"""dbt's graph, compiled once for all commands on one manifest."""

from __future__ import annotations

from typing import Any

import networkx
from dbt.compilation import Linker
from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags
from dbt.graph import Graph
from dbt.node_types import NodeType

from mage_dbt.dbt.graph import CompiledGraph, edges_of_tests
from mage_dbt.dbt.patches.patch import Patch

TEST_EDGE = "parent_test"
"""The type of the edges that dbt adds for `build`, so that tests come before what is downstream."""

WITHOUT_TESTS = (False, False)


class Compilation:
    """The graphs of one manifest. A process has at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._graphs: dict[tuple[bool, bool], Graph] = {}
        """Keys: whether the graph has edges of tests, and whether by dbt's faster way."""

    @property
    def plain(self) -> Graph | None:
        """The graph without edges of tests, once a command has compiled it."""
        return self._graphs.get(WITHOUT_TESTS)

    def patches(self) -> tuple[Patch, ...]:
        return (
            Patch(
                "dbt.compilation:Compiler.compile",
                self._compile_once,
                sources=("22bb14ebdf94dd2a", "cf53a3c84f61c840"),
                why="Each command compiles the graph anew, looks for a cycle from every node, and "
                "adds an edge for each pair of a test and a node after it: 172,000 with 500 "
                "models.",
                relies_on=(
                    *("dbt.compilation:Linker.link_node", "dbt.compilation:Linker.link_graph"),
                    *("dbt.compilation:Linker.find_cycles", "dbt.compilation:Linker.get_graph"),
                    *("dbt.compilation:Linker.add_test_edges",),
                    *("dbt.compilation:Linker.add_test_edges_1",),
                ),
            ),
        )

    def _compile_once(self, original: Any) -> Any:
        def compile(
            compiler: Any, manifest: Manifest, write: bool = True, add_test_edges: bool = False
        ) -> Graph:
            if manifest is not self._manifest:
                return original(compiler, manifest, write, add_test_edges)
            if add_test_edges and getattr(get_flags(), "USE_FAST_TEST_EDGES", False):
                faster = (True, True)
                if faster not in self._graphs:
                    graph = original(compiler, manifest, False, add_test_edges).graph
                    self._graphs[faster] = CompiledGraph(graph)
                return self._graphs[faster]
            return self._compiled(add_test_edges)

        return compile

    def _compiled(self, with_tests: bool) -> Graph:
        """As dbt compiles it, without its summaries and its pickle of the graph.

        Nobody reads those, and they take longer than all the rest.
        """
        known = self._graphs.get((with_tests, False))
        if known is not None:
            return known
        if with_tests:
            graph = self._compiled(with_tests=False).graph.copy()
            graph.add_edges_from(self._edges_of_tests(graph), edge_type=TEST_EDGE)
        else:
            linker = _QuickLinker()
            linker.link_graph(self._manifest)
            graph = linker.graph
        compiled = self._graphs[with_tests, False] = CompiledGraph(graph)
        return compiled

    def _edges_of_tests(self, graph: networkx.DiGraph) -> set[tuple[str, str]]:
        tests, others = {}, set()
        for unique_id, node in self._manifest.nodes.items():
            if node.resource_type == NodeType.Test:
                tests[unique_id] = node.depends_on_nodes
            else:
                others.add(unique_id)
        return edges_of_tests(graph, tests, others)


class _QuickLinker(Linker):  # type: ignore[misc]
    """Searches for a cycle only when there is one: dbt's search starts again at every node."""

    def find_cycles(self) -> str | None:
        if networkx.is_directed_acyclic_graph(self.graph):
            return None
        found: str | None = super().find_cycles()
        return found
