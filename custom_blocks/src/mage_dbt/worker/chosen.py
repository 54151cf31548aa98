"""The nodes that a job names by unique id, taken from dbt's graph without asking dbt by text.

dbt reads a name as a selector: `sales` is a folder too, a comma is an "and", a star is anything. So
where the nodes are known, because a run is run again or a picker offered them, dbt's selection is
asked only for what nobody knows: which nodes that came since the words of the first run mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dbt.adapters.factory import get_adapter_by_type
from dbt.config.project import Project
from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags
from dbt.graph.cli import parse_union
from dbt.graph.selector import NodeSelector
from dbt.graph.selector_spec import IndirectSelection
from dbt_common.exceptions import DbtBaseException

from mage_dbt.worker import Job
from mage_dbt.worker.nodes import name_of, node_in, reads_of

BUILDS = ("build", "run")
"""Commands that can build what is not there."""

LOOKED_FOR = frozenset({"table", "view", "incremental", "materialized_view", "seed", "snapshot"})
"""Materializations that leave a relation of the node's own name; others may leave none."""


class Chosen:
    """The nodes of one job that names some by unique id. dbt asks `_of` in place of selecting."""

    def __init__(self, job: Job, manifest: Manifest) -> None:
        self._job = job
        self._manifest = manifest
        self._nodes: set[str] | None = None
        self._standing: dict[str, set[str] | None] = {}
        self.meant = meant_by(job.models, manifest)
        """By each of the job's models, the unique ids that it stands for: one, or it is wrong."""
        self.along: dict[str, str] = {}
        """Nodes that run because they are not in the warehouse, with the name of who reads them."""
        self.without = ""
        """The selector that the first run was asked for by, when the project has it no more."""

    @contextmanager
    def in_charge(self) -> Iterator[None]:
        """Meanwhile dbt selects these nodes, whatever criteria it is given."""
        with selecting(self._of), self._whatever_selectors_there_are():
            yield

    @contextmanager
    def _whatever_selectors_there_are(self) -> Iterator[None]:
        """Meanwhile a selector that is gone means nothing, where dbt would refuse to begin."""
        original = Project.get_selector

        def get_selector(project: Project, name: str) -> Any:
            if name in project.selectors:
                return original(project, name)
            self.without = name
            return None

        if self._job.nodes:
            Project.get_selector = get_selector
        try:
            yield
        finally:
            Project.get_selector = original

    def _of(self, selector: NodeSelector, spec: Any) -> set[str]:
        if self._nodes is None:  # `build` asks three times, once with unit tests
            members = selector.graph.nodes()
            if self._job.nodes:
                self._nodes = self._rerun(selector, spec, members)
            else:
                self._nodes = self._named(selector, members)
        return self._nodes

    def _named(self, selector: NodeSelector, members: Collection[str]) -> set[str]:
        """The models of the job, with what was asked for around them, and the tests of all that."""
        models = {one for nodes in self.meant.values() for one in nodes} & set(members)
        chosen = set(models)
        if self._job.with_upstream:
            chosen |= selector.graph.select_parents(models)
        if self._job.with_downstream:
            chosen |= selector.graph.select_children(models)
        return _with_tests(selector, chosen)

    def _rerun(self, selector: NodeSelector, spec: Any, members: Collection[str]) -> set[str]:
        """What is left, and of what lies downstream whatever the first run asked for: it is stale.

        A node that was planned was asked for. Of one that nobody has planned yet, dbt tells whether
        the first run's words mean it. Where they no longer find a node that is left, because it was
        renamed, its tests are those that it has now.
        """
        left = {one for one in self._job.nodes if one in members}
        stale = selector.graph.select_children(left)
        planned = set(self._job.planned)
        words: set[str] | None = None
        chosen = left | (stale & planned)
        if fresh := stale - planned - left:
            words = self._words(selector, spec)
            tests = _with_tests(selector, left - words) - self._excluded(selector)
            chosen |= fresh & (words | tests)
        if self._job.command in BUILDS:
            chosen |= self._not_there(selector, spec, chosen, words)
        return chosen

    def _words(self, selector: NodeSelector, spec: Any) -> set[str]:
        """What the first run's words mean on this graph."""
        if self._job.models:
            return self._named(selector, selector.graph.nodes())
        if self.without:
            return set()
        selected: set[str] = selector.select_nodes(spec, warn_on_no_nodes=False)[0]
        return selected

    def _excluded(self, selector: NodeSelector) -> set[str]:
        if not self._job.exclude:
            return set()
        spec = parse_union(list(self._job.exclude), expect_exists=False)
        selected: set[str] = selector.select_nodes(spec, warn_on_no_nodes=False)[0]
        return selected

    def _not_there(
        self, selector: NodeSelector, spec: Any, chosen: set[str], words: set[str] | None
    ) -> set[str]:
        """What the chosen nodes read and the warehouse has not: it came with the repair, say."""
        line = sorted(selector.filter_selection(chosen))
        excluded: set[str] | None = None
        found: set[str] = set()
        while line:
            reader = line.pop()
            for up in self._read_by(reader):
                if up in chosen or up in found or self._stands(up):
                    continue
                excluded = self._excluded(selector) if excluded is None else excluded
                if up in excluded:
                    continue
                words = self._words(selector, spec) if words is None else words
                tests = {one for one in _with_tests(selector, {up}) if one in words} - chosen
                self.along[up] = self._name(reader)
                found |= {up} | tests
                line += sorted({up} | tests)
        return found

    def _read_by(self, unique_id: str) -> Iterator[str]:
        """The nodes with relations of their own that this one reads, also through ephemerals."""
        seen: set[str] = set()
        line = list(reads_of(node_in(self._manifest, unique_id)))
        while line:
            one = line.pop()
            if one in seen or one not in self._manifest.nodes:
                continue
            seen.add(one)
            node = self._manifest.nodes[one]
            if str(node.config.materialized) == "ephemeral":
                line += reads_of(node)
            elif str(node.config.materialized) in LOOKED_FOR:
                yield one

    def _stands(self, unique_id: str) -> bool:
        """Whether the warehouse has the node's relation; also when that cannot be told."""
        adapter = get_adapter_by_type(self._manifest.metadata.adapter_type)
        relation = adapter.Relation.create_from(adapter.config, self._manifest.nodes[unique_id])
        schema = relation.without_identifier()
        key = str(schema)
        if key not in self._standing:
            try:
                # Not the list that dbt keeps: the run may wait, and that one would be old by then.
                with adapter.connection_named("master"):
                    there = adapter.list_relations_without_caching(schema)
                self._standing[key] = {str(one.identifier).lower() for one in there}
            except DbtBaseException:
                self._standing[key] = None
        names = self._standing[key]
        return names is None or str(relation.identifier).lower() in names

    def _name(self, unique_id: str) -> str:
        return name_of(node_in(self._manifest, unique_id))


@contextmanager
def selecting(choose: Callable[[NodeSelector, Any], Collection[str]]) -> Iterator[None]:
    """Meanwhile dbt selects what `choose` gives for a selector and its criteria."""
    original = NodeSelector.get_selected

    def get_selected(selector: NodeSelector, spec: Any, warn_on_no_nodes: bool = True) -> Any:
        return selector.filter_selection(set(choose(selector, spec)))

    NodeSelector.get_selected = get_selected
    try:
        yield
    finally:
        NodeSelector.get_selected = original


def meant_by(names: Iterable[str], manifest: Manifest) -> Mapping[str, Sequence[str]]:
    """By name or unique id, the models, seeds and snapshots that it stands for.

    A model that has versions is meant by `name.v2`, and its latest version by the name alone.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    latest: dict[str, list[str]] = {}
    if found:
        for one, node in manifest.nodes.items():
            if str(node.resource_type) not in ("model", "seed", "snapshot"):
                continue
            for name in {one, name_of(node)} & found.keys():
                found[name].append(one)
            if node.name in found and getattr(node, "is_latest_version", False):
                latest.setdefault(node.name, []).append(one)
    return {name: sorted(nodes or latest.get(name, [])) for name, nodes in found.items()}


def _with_tests(selector: NodeSelector, nodes: set[str]) -> set[str]:
    """The nodes with their tests, as many as `--indirect-selection` takes."""
    mode = IndirectSelection(get_flags().INDIRECT_SELECTION)
    if mode is IndirectSelection.Empty:
        return nodes
    return set(selector.expand_selection(selected=nodes, indirect_selection=mode)[0])
