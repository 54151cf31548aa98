"""dbt's own selection, told beforehand what it would otherwise find out at every node, every time.

Nothing is selected here. dbt looks at each node of the project to learn which are enabled, and
which a name might mean, three times a `build`; and it works out the same criterion three times.
What is kept here is where else it need not look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from dbt.contracts.graph.manifest import Manifest
from dbt.graph.selector import NodeSelector
from dbt.graph.selector_methods import QualifiedNameSelectorMethod

WILDCARDS = frozenset("*?[]")


class Names:
    """Every node by what a selector that means it can be: its name, or the folders it is in."""

    def __init__(self, nodes: Iterable[tuple[str, Any]]) -> None:
        self._by_name: dict[str, list[str]] = {}
        self._by_folder: dict[str, list[str]] = {}
        self._nodes: dict[str, Any] = {}
        for one, node in nodes:
            self._nodes[one] = node
            fqn = node.fqn
            flat = [part for segment in fqn for part in segment.split(".")]
            names = {fqn[-1], flat[-1]}
            if node.is_versioned:
                names |= {*fqn[-2:], "_".join(fqn[-2:])}
            for name in names:
                self._by_name.setdefault(name, []).append(one)
            package = len(fqn[0].split("."))
            folders = {
                ".".join(flat[begin:end])
                for begin in (0, package)
                for end in range(begin, len(flat))
            }
            for folder in folders:
                self._by_folder.setdefault(folder, []).append(one)

    def perhaps(self, selector: str) -> Iterator[tuple[str, Any]]:
        """The nodes that this selector may mean, and every one that it does. It has no wildcard."""
        parts = selector.split(".")
        found = set(self._by_folder.get(selector, ()))
        for name in (selector, parts[-1], "_".join(parts[-2:])):
            found.update(self._by_name.get(name, ()))
        for one in found:
            yield one, self._nodes[one]


class Selector:
    """Makes dbt's selection on this manifest quick. Of each process there is at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._names: Names | None = None
        self._known: dict[int, tuple[Any, set[str], set[str]]] = {}
        self._criteria = NodeSelector.get_nodes_from_criteria
        self._search = QualifiedNameSelectorMethod.search
        ours = self

        def criteria(selector: NodeSelector, spec: Any) -> tuple[set[str], set[str]]:
            return ours._of_criteria(selector, spec)

        def search(method: Any, included: set[str], selector: str) -> Iterator[str]:
            return ours._named(method, included, selector)

        NodeSelector.get_nodes_from_criteria = criteria
        QualifiedNameSelectorMethod.search = search

    def learn(self, nodes: Collection[str]) -> None:
        """Looks at all these nodes of the graph, once for all selections in this process."""
        method = QualifiedNameSelectorMethod(self._manifest, None, [])
        self._names = Names(method.non_source_nodes(set(nodes)))
        member = NodeSelector._is_graph_member
        selector = NodeSelector.__new__(NodeSelector)
        selector.manifest = self._manifest
        enabled = frozenset(one for one in nodes if member(selector, one))
        NodeSelector._is_graph_member = enabled.__contains__

    def begin(self) -> None:
        """Another command: what the one before selected is forgotten."""
        self._known.clear()

    def _of_criteria(self, selector: NodeSelector, spec: Any) -> tuple[set[str], set[str]]:
        """Once for each criterion of a command; `build` asks three times. One that finds nothing is
        asked each time: dbt may have logged why."""
        known = self._known.get(id(spec))
        if known is None or known[0] is not spec:
            known = (spec, *self._criteria(selector, spec))
            if known[1]:
                self._known[id(spec)] = known
        return set(known[1]), set(known[2])

    def _named(self, method: Any, included: Collection[str], selector: str) -> Iterator[str]:
        if self._names is None or method.manifest is not self._manifest or WILDCARDS & {*selector}:
            yield from self._search(method, included, selector)
            return
        for one, node in self._names.perhaps(selector):
            if one in included and method.node_is_match(selector, node.fqn, node.is_versioned):
                yield one
