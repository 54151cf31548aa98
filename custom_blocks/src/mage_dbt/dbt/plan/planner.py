"""Plans a job from dbt's selection: its nodes in order, what they touch, warnings and notes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from graphlib import TopologicalSorter
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from dbt.adapters.factory import get_adapter
from dbt.node_types import RunHookType
from dbt_common.exceptions import DbtDatabaseError

from mage_dbt.base.clock import Clock
from mage_dbt.base.lists import short_list
from mage_dbt.dbt.graph import relations_read
from mage_dbt.dbt.nodes import (
    WRITTEN,
    Unplanned,
    flag,
    is_test,
    label,
    materialized_as,
    name_of,
    node_in,
    reads_of,
    runs,
)
from mage_dbt.dbt.plan import drops, refusals
from mage_dbt.dbt.plan.chosen import Chosen, selecting
from mage_dbt.dbt.plan.drops import SELECT_THEM, Guard
from mage_dbt.dbt.plan.reasons import has_operator, why_in, without_operators
from mage_dbt.dbt.plan.refusals import refusal
from mage_dbt.dbt.project import Project
from mage_dbt.dbt.results.batches import Batches
from mage_dbt.dbt.results.recorder import message_of
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.refresh import Preview
from mage_dbt.warehouse import Target, warehouse_of
from mage_dbt.workers.job import Job


class Refresh(Protocol):
    """What a planner asks of a refresh that is built aside (`dbt/refresh/refresh.py`)."""

    def plan(
        self, planned: Sequence[Any], targets: Mapping[str, Target]
    ) -> tuple[dict[str, Any] | None, list[Preview], dict[str, Target]]:
        """Why it is refused, if it is; what it would do to each relation; and what dbt writes."""

    def notes(self) -> list[str]:
        """Sentences on what keeps its rows, although it was chosen."""


class RefusedAtItsTurn(Exception):
    """Ends dbt's command before its first statement; the text says why."""


class Planner:
    """Plans one job. `planned`, `targets` and `guard` are known after `plan`."""

    def __init__(
        self,
        job: Job,
        project: Project,
        arguments: list[str],
        chosen: Chosen | None,
        batches: Batches,
    ) -> None:
        self._job = job
        self._project = project
        self._manifest = project.manifest
        self._arguments = arguments
        self._chosen = chosen
        self._batches = batches
        self._task: Any = None
        self.planned: dict[str, Any] = {}
        """Nodes by unique id, each after those that it reads."""
        self._adapter = self._manifest.metadata.adapter_type or ""
        self.warehouse = warehouse_of(self._adapter, self._query)
        self.targets: tuple[Target, ...] = ()
        """What dbt writes, and drops, where people read."""
        self.guard = Guard(self.warehouse, (), False, False, self._label, self._is_after)

    def plan(
        self, task: Any, unmatched: Collection[str], refresh: Refresh | None = None
    ) -> dict[str, Any]:
        """The answer to the runner: nodes and warnings, or why the job is refused.

        `task` is dbt's, which has selected; `unmatched` are the criteria that match nothing.
        """
        self._task = task
        ids = {*task.job_queue.get_selected_nodes()}
        ids.update(getattr(task, "selected_unit_tests", ()))
        selected = [self._node(unique_id) for unique_id in sorted(ids)]
        self.planned = {node.unique_id: node for node in _in_order(selected) if runs(node)}
        wrong = [criterion for criterion in unmatched if criterion not in self._job.exclude]
        wrong = [] if self._job.nodes else wrong  # a rerun names its nodes
        if not self.planned and refresh and (kept := refresh.notes()):
            return refusal("request", " ".join(kept), "Nothing is left for a full refresh to do.")
        if wrong or not self.planned:
            return refusals.of_selection(self._job, self._manifest, wrong, self._selector)
        # From here on the warehouse, or dbt again, is asked; the task's connections stay as is.
        refreshes = flag("FULL_REFRESH")
        kept, all_kept = drops.kept(self.planned.values()) if refreshes else ([], False)
        if all_kept:
            return refusal("request", " ".join(kept), "Nothing is left for a full refresh to do.")
        targets = self._targets()
        previews: list[Preview] = []
        if refresh:
            refused, previews, targets = refresh.plan([*self.planned.values()], targets)
            if refused:
                return refused
            kept = refresh.notes()
        elif self._job.refresh:
            kept.append(f"On {self._adapter} a full refresh drops and rebuilds in place.")
        self.targets = tuple(t for t in targets.values() if t.drops or not refresh)
        self.guard = Guard(
            self.warehouse,
            list(targets.values()),
            self._job.keep_views and refreshes,
            self._job.restore_views,
            self._label,
            self._is_after,
        )
        lost = self.guard.look()
        if why := self.guard.refusal(lost):
            return refusal("request", why, SELECT_THEM)
        unknown = self.warehouse.unknown if self._job.details and targets else ""
        return {
            "refused": "",
            "nodes": self._planned_nodes(targets),
            "warnings": [
                *self._project.differences,
                *refusals.of_exclusion(self._job, self._manifest, unmatched),
                *self.guard.news(lost),
                *(
                    self._granted(targets)
                    if self._job.details and refreshes and not refresh
                    else ()
                ),
                *self._batches.warnings(self.planned.values()),
                *(self._stale_sources() if self._job.details else ()),
            ],
            "notes": [
                *self._rerun_notes(),
                *kept,
                *([unknown] if unknown else ()),
            ],
            "threads": int(task.config.threads),
            "hooks": self._hooks(),
            "parse_warnings": self._project.warnings.to_json(),
            "refresh": [preview.to_json() for preview in previews],
        }

    def look_again(self) -> list[str]:
        """Asks once more what will be dropped along, and watches it from now on if it must stay.

        Returns what was not known before. Raises RefusedAtItsTurn.
        """
        lost = self.guard.look()
        if why := self.guard.refusal(lost):
            raise RefusedAtItsTurn(f"{why} {SELECT_THEM}")
        news = self.guard.news(lost)
        self.guard.watch(get_adapter(self._task.config))
        return news

    def _planned_nodes(self, targets: Mapping[str, Target]) -> list[dict[str, Any]]:
        rows = self._rows(targets.values()) if self._job.details else {}
        reasons = self._reasons()
        reads = relations_read(self.planned, self._node)
        identity = cache(self.warehouse.folding.identity)  # many read the same
        nodes = [
            self._planned_node(
                node,
                reads=tuple(sorted({identity(relation) for relation in reads[unique_id]})),
                why=reasons.get(unique_id, ""),
                rows=rows.get(unique_id),
                writes=(self.warehouse.written(targets[unique_id]) if unique_id in targets else ()),
            )
            for unique_id, node in self.planned.items()
        ]
        return PlannedNode.all_to_json(nodes)

    def _planned_node(self, node: Any, **more: Any) -> PlannedNode:
        writes = self._job.command != "compile" and str(node.resource_type) in WRITTEN
        return PlannedNode(
            **more,
            node=node.unique_id,
            name=name_of(node),
            type=str(node.resource_type),
            materialized=materialized_as(node),
            relation=(getattr(node, "relation_name", None) or "") if writes else "",
            depends_on=tuple(reads_of(node)),
            fqn=".".join(node.fqn),
            path=self._project.path_of(node),
        )

    def _granted(self, targets: Mapping[str, Target]) -> Iterator[str]:
        """What a full refresh takes from those who may read its tables now."""
        with suppress(DbtDatabaseError):
            granted = self.warehouse.granted([*targets.values()])
            yield from drops.not_granted_again(self.planned.values(), granted)

    def _hooks(self) -> int:
        """How many hooks this command runs at its start and its end."""
        if not hasattr(self._task, "safe_run_hooks"):
            return 0
        return sum(len(self._task.get_hooks_by_type(kind)) for kind in RunHookType)

    def _reasons(self) -> dict[str, str]:
        """Why each planned node is in the plan, by unique id."""
        if self._chosen and self._job.nodes:
            along = {
                node: f"read by {reader}, and not in the warehouse"
                for node, reader in self._chosen.along.items()
            }
            given = along | dict(self._job.nodes)
            return given | why_in(self._edges(), given.keys(), given)
        if self._chosen:
            asked = {node for nodes in self._chosen.meant.values() for node in nodes}
            return why_in(self._edges(), asked, {})
        if self._selector:
            return dict.fromkeys(self.planned, f"chosen by {self._selector}")
        if not self._job.select:
            return dict.fromkeys(self.planned, "everything was asked for")
        if not any(has_operator(criterion) for criterion in self._job.select):
            asked = {unique_id for unique_id, node in self.planned.items() if not is_test(node)}
        elif self._job.details:
            asked = self._asked_for()
        else:  # to tell them apart dbt would have to select again, and a run does not wait for that
            chosen = f"chosen by {' '.join(self._job.select)}"
            return dict.fromkeys(self.planned, chosen)
        return why_in(self._edges(), asked, {})

    @property
    def _selector(self) -> str:
        """The project's selector that chooses the nodes, in words; empty when none does.

        It is the one that was named, or the default where nothing was (dbt's rule:
        `GraphRunnableTask.get_selection_spec`).
        """
        task = self._task
        name = task.args.selector or (
            not (self._job.models or task.selection_arg or task.exclusion_arg)
            and task.config.get_default_selector_name()
        )
        return f"the selector {name} (selectors.yml)" if name else ""

    def _edges(self) -> dict[str, list[str]]:
        """What each planned node reads, in the plan's order; tests last, as leaves."""
        nodes = sorted(self.planned.values(), key=is_test)
        return {node.unique_id: reads_of(node) for node in nodes}

    def _asked_for(self) -> set[str]:
        """The nodes that the criteria match without their graph operators: dbt's own answer."""
        criteria = [without_operators(criterion) for criterion in self._job.select]
        only = ["--output", "json", "--output-keys", "unique_id", "--indirect-selection", "empty"]
        listed = self._project.invoke(["ls", *self._arguments, "--select", *criteria, *only])
        return {json.loads(line)["unique_id"] for line in listed.result or []}

    def _rerun_notes(self) -> Iterator[str]:
        """For a rerun: what is left out, what was added since, and what runs beyond that."""
        yield from filter(None, (nodes.sentence(self.planned) for nodes in self._job.left_out))
        if self._chosen and self._chosen.without:
            yield (
                f"The selector {self._chosen.without} is not at {self._job.commit[:7]}: what came "
                "since the first run is left out."
            )
        for unique_id in self._job.nodes:
            if unique_id not in self.planned and isinstance(self._node(unique_id), Unplanned):
                yield f"{unique_id.split('.')[2]} is disabled with these variables: left out."
        for unique_id, node in self.planned.items():
            if self._project.path_of(node) in self._job.added and not is_test(node):
                read = [self._label(up) for up in reads_of(node) if up in self.planned]
                if read:
                    yield f"{self._label(unique_id)} was added since and reads {short_list(read)}."
        along = [
            node for node in (self._chosen.along if self._chosen else ()) if node in self.planned
        ]
        if along:
            names = short_list([self._label(node) for node in along])
            yield f"Not in the warehouse, and read by what runs, so built too: {names}."

    def _rows(self, targets: Iterable[Target]) -> dict[str, int]:
        with suppress(DbtDatabaseError):
            return self.warehouse.rows(list(targets))
        return {}

    def _stale_sources(self) -> list[str]:
        """Sentences on planned nodes' sources that dbt calls stale, by their own freshness."""
        read = {up for node in self.planned.values() for up in reads_of(node)}
        sources = [
            self._manifest.sources[source]
            for source in sorted(read & self._manifest.sources.keys())
        ]
        ids = {source.unique_id for source in sources if source.freshness}
        if not ids:
            return []
        with selecting(lambda *_: ids):
            done = self._project.invoke(["source", "freshness", *self._arguments])
        results = getattr(done.result, "results", None) or []
        if not results:
            return [f"dbt could not tell how fresh its sources are: {message_of(done.exception)}"]
        return [
            _staleness(result, self._job.zone)
            for result in results
            if str(result.status) not in ("pass", "success")
        ]

    def _node(self, unique_id: str) -> Any:
        return node_in(self._manifest, unique_id)

    def _label(self, unique_id: str) -> str:
        return label(self._manifest, unique_id)

    def _targets(self) -> dict[str, Target]:
        """What each planned node writes, by unique id."""
        if self._job.command == "compile":
            return {}
        adapter, config = get_adapter(self._task.config), self._task.config
        found = drops.targets(
            self.planned.values(), lambda node: adapter.Relation.create_from(config, node)
        )
        return {target.node: target for target in found}

    def _is_after(self, node: str, other: str) -> bool:
        """Whether dbt's graph leads from `other` to `node`; both are unique ids."""
        seen: set[str] = set()
        waiting = [node]
        while waiting:
            for up in reads_of(self._node(waiting.pop())):
                if up == other:
                    return True
                if up not in seen:
                    seen.add(up)
                    waiting.append(up)
        return False

    def _query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a read-only query on the warehouse, over dbt's own connection."""
        adapter = get_adapter(self._task.config)
        with adapter.connection_named("master"):
            return drops.rows(adapter, sql)


def _in_order(selected: Iterable[Any]) -> Iterator[Any]:
    """Each node after those that it reads."""
    nodes = {node.unique_id: node for node in selected}
    # Sorted: a set's order differs between processes, and the plan's digest holds the order.
    reads = {unique_id: sorted(nodes.keys() & reads_of(node)) for unique_id, node in nodes.items()}
    for unique_id in TopologicalSorter(reads).static_order():
        yield nodes[unique_id]


def _staleness(result: Any, zone: str) -> str:
    """A sentence on a source that is not fresh, or of which dbt cannot tell."""
    name = f"{result.node.source_name}.{result.node.name}"
    newest = getattr(result, "max_loaded_at", None)
    if newest is not None and newest.year == 1:  # dbt's way to say that there are no rows
        return f"The source {name} is stale: it has no rows."
    if newest is None:
        return (
            f"dbt could not tell how fresh the source {name} is: {result.message or result.status}"
        )
    hours = result.age / 3600
    when = Clock(ZoneInfo(zone)).say_with_zone(newest)
    return f"The source {name} is stale: its newest row is {hours:.0f} h old ({when})."
