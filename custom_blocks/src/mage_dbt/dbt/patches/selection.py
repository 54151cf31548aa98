"""What dbt's own selection need not find out again.

Nothing is selected here. Three times a `build`, dbt visits each node to learn which are enabled and
which a name may mean, and works out the same criterion. Here the answers are kept, or the nodes
that need no visit are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from dbt.contracts.graph.manifest import Manifest
from dbt.graph.selector import NodeSelector
from dbt.graph.selector_methods import QualifiedNameSelectorMethod

from mage_dbt.dbt.patches.patch import Patch

WILDCARDS = frozenset("*?[]")


class Names:
    """An index of nodes by the selectors that may mean them: their names and folders."""

    def __init__(self, nodes: Iterable[tuple[str, Any]]) -> None:
        self._by_name: dict[str, list[str]] = {}
        self._by_folder: dict[str, list[str]] = {}
        self._nodes: dict[str, Any] = {}
        for unique_id, node in nodes:
            self._nodes[unique_id] = node
            fqn = node.fqn
            flat = [part for segment in fqn for part in segment.split(".")]
            names = {fqn[-1], flat[-1]}
            if node.is_versioned:
                names |= {*fqn[-2:], "_".join(fqn[-2:])}
            for name in names:
                self._by_name.setdefault(name, []).append(unique_id)
            package = len(fqn[0].split("."))
            folders = {
                ".".join(flat[begin:end])
                for begin in (0, package)
                for end in range(begin, len(flat))
            }
            for folder in folders:
                self._by_folder.setdefault(folder, []).append(unique_id)

    def perhaps(self, selector: str) -> Iterator[tuple[str, Any]]:
        """The nodes that this selector may mean; none is missing. It has no wildcard."""
        parts = selector.split(".")
        found = set(self._by_folder.get(selector, ()))
        for name in (selector, parts[-1], "_".join(parts[-2:])):
            found.update(self._by_name.get(name, ()))
        for unique_id in found:
            yield unique_id, self._nodes[unique_id]


class Selection:
    """The patches on selection for one manifest. A process has at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._names: Names | None = None
        self._known: dict[int, tuple[Any, set[str], set[str]]] = {}

    def learn(self, nodes: Collection[str]) -> None:
        """Visits these nodes of the graph once, for all selections in this process."""
        method = QualifiedNameSelectorMethod(self._manifest, None, [])
        self._names = Names(method.non_source_nodes(set(nodes)))

    def begin(self) -> None:
        """Another command begins: forgets what the one before selected."""
        self._known.clear()

    def patches(self) -> tuple[Patch, ...]:
        return (
            Patch(
                "dbt.graph.selector:NodeSelector.get_nodes_from_criteria",
                self._of_criteria,
                sources=("e4b404d280c35b30",),
                why="`build` works out each criterion three times.",
            ),
            Patch(
                "dbt.graph.selector_methods:QualifiedNameSelectorMethod.search",
                self._named,
                sources=("b1164f363ff0b796", "e9df7aaa78db3c70"),
                why="A name is compared with every node; an index by name and folder says which it "
                "may mean, and dbt decides.",
                relies_on=(
                    "dbt.graph.selector_methods:QualifiedNameSelectorMethod.node_is_match",
                    "dbt.graph.selector_methods:SelectorMethod.non_source_nodes",
                    "dbt.graph.selector_methods:is_selected_node",
                ),
            ),
        )

    def learned(self, nodes: Collection[str]) -> Patch:
        """The patch that needs to know all nodes of the graph."""

        def member(original: Any) -> Any:
            selector = NodeSelector.__new__(NodeSelector)
            selector.manifest = self._manifest
            return frozenset(node for node in nodes if original(selector, node)).__contains__

        return Patch(
            "dbt.graph.selector:NodeSelector._is_graph_member",
            member,
            sources=("79670ae8e72e6014", "98097345a73224d3"),
            why="Every node of the graph is looked at to learn which are enabled, three times.",
        )

    def _of_criteria(self, original: Any) -> Any:
        """Works out each criterion of a command once.

        One that finds nothing is worked out each time: dbt may log why.
        """

        def criteria(selector: NodeSelector, spec: Any) -> tuple[set[str], set[str]]:
            known = self._known.get(id(spec))
            if known is None or known[0] is not spec:
                known = (spec, *original(selector, spec))
                if known[1]:
                    self._known[id(spec)] = known
            return set(known[1]), set(known[2])

        return criteria

    def _named(self, original: Any) -> Any:
        def search(method: Any, included: Collection[str], selector: str) -> Iterator[str]:
            names = self._names
            other = method.manifest is not self._manifest
            if names is None or other or WILDCARDS & {*selector}:
                yield from original(method, included, selector)
                return
            for unique_id, node in names.perhaps(selector):
                matches = method.node_is_match
                if unique_id in included and matches(selector, node.fqn, node.is_versioned):
                    yield unique_id

        return search
