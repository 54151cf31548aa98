"""The nodes that a job names, taken from dbt's graph instead of being selected by text.

dbt reads a name as a selector: `sales` may be a folder too, a comma means "and", a star anything.
For a rerun, or where a picker offered the nodes, they are known. Then dbt's selection is asked only
which nodes that were added since the first run's criteria mean.
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

from mage_dbt.base.text import spelled
from mage_dbt.dbt.nodes import name_of, node_in, reads_of
from mage_dbt.workers.job import Job

BUILDS = ("build", "run")
"""Commands that can build what is not in the warehouse."""

LOOKED_FOR = frozenset({"table", "view", "incremental", "materialized_view", "seed", "snapshot"})
"""Materializations that make a relation of the node's own name; others may make none."""


class Chosen:
    """The nodes of one job that names some. dbt asks `_of` instead of selecting."""

    def __init__(self, job: Job, manifest: Manifest) -> None:
        self._job = job
        self._manifest = manifest
        self._nodes: set[str] | None = None
        self._standing: dict[str, set[str] | None] = {}
        self.meant = meant_by(job.models, manifest)
        """The unique ids that each of the job's models stands for: one, or it is wrong."""
        self.along: dict[str, str] = {}
        """Nodes that run because they are not in the warehouse, with the name of their reader."""
        self.without = ""
        """The selector of the first run, if the project no longer has it."""

    @contextmanager
    def in_charge(self) -> Iterator[None]:
        """In this block dbt selects these nodes, whatever criteria it gets."""
        with selecting(self._of), self._missing_selectors_allowed():
            yield

    @contextmanager
    def _missing_selectors_allowed(self) -> Iterator[None]:
        """In this block a missing selector means nothing, where dbt would refuse the command."""
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
        """The models of the job, what was asked for around them, and the tests of all that."""
        models = {node for nodes in self.meant.values() for node in nodes} & set(members)
        chosen = set(models)
        if self._job.with_upstream:
            chosen |= selector.graph.select_parents(models)
        if self._job.with_downstream:
            chosen |= selector.graph.select_children(models)
        return _with_tests(selector, chosen)

    def _rerun(self, selector: NodeSelector, spec: Any, members: Collection[str]) -> set[str]:
        """What is left, and what the first run asked for downstream of it, which is stale.

        A planned node was asked for. For a node that nobody has planned yet, dbt says whether the
        first run's criteria mean it. If they no longer find a node that is left, because it was
        renamed, its present tests are taken.
        """
        left = {node for node in self._job.nodes if node in members}
        stale = selector.graph.select_children(left)
        planned = set(self._job.planned)
        meant: set[str] | None = None
        chosen = left | (stale & planned)
        if fresh := stale - planned - left:
            meant = self._criteria(selector, spec)
            tests = _with_tests(selector, left - meant) - self._excluded(selector)
            chosen |= fresh & (meant | tests)
        if self._job.command in BUILDS:
            chosen |= self._not_there(selector, spec, chosen, meant)
        return chosen

    def _criteria(self, selector: NodeSelector, spec: Any) -> set[str]:
        """What the first run's criteria mean on this graph."""
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
        self, selector: NodeSelector, spec: Any, chosen: set[str], meant: set[str] | None
    ) -> set[str]:
        """What the chosen nodes read and the warehouse lacks, such as a repair's new model."""
        waiting = sorted(selector.filter_selection(chosen))
        excluded: set[str] | None = None
        found: set[str] = set()
        while waiting:
            reader = waiting.pop()
            for up in self._read_by(reader):
                if up in chosen or up in found or self._stands(up):
                    continue
                excluded = self._excluded(selector) if excluded is None else excluded
                if up in excluded:
                    continue
                meant = self._criteria(selector, spec) if meant is None else meant
                tests = (_with_tests(selector, {up}) & meant) - chosen
                self.along[up] = self._name(reader)
                found |= {up} | tests
                waiting += sorted({up} | tests)
        return found

    def _read_by(self, unique_id: str) -> Iterator[str]:
        """The nodes with relations of their own that this one reads, also through ephemerals."""
        seen: set[str] = set()
        waiting = list(reads_of(node_in(self._manifest, unique_id)))
        while waiting:
            up = waiting.pop()
            if up in seen or up not in self._manifest.nodes:
                continue
            seen.add(up)
            node = self._manifest.nodes[up]
            if str(node.config.materialized) == "ephemeral":
                waiting += reads_of(node)
            elif str(node.config.materialized) in LOOKED_FOR:
                yield up

    def _stands(self, unique_id: str) -> bool:
        """Whether the warehouse has the node's relation; also true when it does not say."""
        adapter = get_adapter_by_type(self._manifest.metadata.adapter_type)
        relation = adapter.Relation.create_from(adapter.config, self._manifest.nodes[unique_id])
        schema = relation.without_identifier()
        key = str(schema)
        if key not in self._standing:
            try:
                # Not dbt's cached list: the run may wait, and the list would be old by then.
                with adapter.connection_named("master"):
                    there = adapter.list_relations_without_caching(schema)
                self._standing[key] = {str(found.identifier).lower() for found in there}
            except DbtBaseException:
                self._standing[key] = None
        names = self._standing[key]
        return names is None or str(relation.identifier).lower() in names

    def _name(self, unique_id: str) -> str:
        return name_of(node_in(self._manifest, unique_id))


@contextmanager
def selecting(choose: Callable[[NodeSelector, Any], Collection[str]]) -> Iterator[None]:
    """In this block dbt selects what `choose` returns for a selector and its criteria."""
    original = NodeSelector.get_selected

    def get_selected(selector: NodeSelector, spec: Any, warn_on_no_nodes: bool = True) -> Any:
        return selector.filter_selection(set(choose(selector, spec)))

    NodeSelector.get_selected = get_selected
    try:
        yield
    finally:
        NodeSelector.get_selected = original


def meant_by(names: Iterable[str], manifest: Manifest) -> Mapping[str, Sequence[str]]:
    """The models, seeds and snapshots that each name or unique id stands for, spelled or not.

    `name.v2` means a model's version, and the name alone its latest version.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    latest: dict[str, list[str]] = {}
    if found:
        for unique_id, node in manifest.nodes.items():
            if str(node.resource_type) not in ("model", "seed", "snapshot"):
                continue
            called = (unique_id, name_of(node))
            for name in {*called, *map(spelled, called)} & found.keys():
                found[name].append(unique_id)
            if node.name in found and getattr(node, "is_latest_version", False):
                latest.setdefault(node.name, []).append(unique_id)
    return {name: sorted(nodes or latest.get(name, [])) for name, nodes in found.items()}


def _with_tests(selector: NodeSelector, nodes: set[str]) -> set[str]:
    """The nodes with their tests, by the rule of `--indirect-selection`."""
    mode = IndirectSelection(get_flags().INDIRECT_SELECTION)
    if mode is IndirectSelection.Empty:
        return nodes
    return set(selector.expand_selection(selected=nodes, indirect_selection=mode)[0])
