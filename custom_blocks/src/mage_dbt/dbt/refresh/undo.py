"""Brings back what a refresh has replaced, by the same swap; dbt itself builds nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mage_dbt.base.lists import short_list
from mage_dbt.base.text import spelled
from mage_dbt.dbt.connection import Interrupted, let_interrupts_through
from mage_dbt.dbt.nodes import key_of, materialized_as, name_of, node_in
from mage_dbt.dbt.plan.chosen import meant_by
from mage_dbt.dbt.plan.refusals import refusal
from mage_dbt.dbt.project import Project
from mage_dbt.dbt.refresh.steps import Steps, in_words, refresher
from mage_dbt.dbt.results import after_swap
from mage_dbt.dbt.results.batches import Batches
from mage_dbt.dbt.results.recorder import Recorder
from mage_dbt.dbt.sessions import names
from mage_dbt.errors import did_you_mean
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.refresh import Kept, Preview, RefreshOptions, Step
from mage_dbt.model.run import INTERRUPTED, EventKind
from mage_dbt.warehouse import warehouse_of
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.refresh import Part, Refresher, RefreshRefused
from mage_dbt.workers.job import Job

PREVIEW_SECONDS = 30.0
"""How long a preview may count the rows that an undo would lose."""


class Undo:
    """The undo of one job's models."""

    def __init__(self, job: Job, project: Project) -> None:
        manifest = project.manifest
        self._job = job
        self._options = job.refresh or RefreshOptions()
        self._project = project
        self._warehouse = warehouse_of(manifest.metadata.adapter_type or "", lambda _: [])
        self._parts: dict[str, Part] = {}
        self._recorder = Recorder(job, manifest, Batches(job, manifest), self._warehouse)
        self._steps = Steps(self._recorder)

    def run(
        self, answer: Callable[[dict[str, Any]], object], wait_for_turn: Callable[[], None]
    ) -> None:
        """Plans, answers with the plan or why it is refused, waits for its turn, and swaps."""
        if self._project.manifest.metadata.adapter_type != "postgres":
            answer(refusal("request", "Only on PostgreSQL is a former table kept.", ""))
            return
        try:
            with in_words(), refresher(self._project.config.credentials) as engine:
                plan = self._plan(engine, self._choose(engine.kept()))
        except RefreshRefused as error:
            answer(refusal("request", error.message, error.hint))
            return
        answer(plan)
        wait_for_turn()
        refused = self._swap()
        credentials = self._project.config.credentials
        reason = self._steps.settle_up(credentials, self._job.run, refused) if refused else ""
        if self._steps.unknown:
            self._recorder.write_unless_swapped()
        for result in self._results(reason):
            self._recorder.write(EventKind.NODE_FINISHED, **result)
        self._recorder.write(EventKind.END, **_end_of(reason, names.left_behind))

    def _choose(self, kept: list[Kept]) -> dict[str, Kept]:
        """The newest former relation of each model, by unique id. Raises RefreshRefused."""
        chosen: dict[str, Kept] = {}
        for name, ids in meant_by(self._job.models, self._project.manifest).items():
            # Also of a model that dbt-metric no longer has.
            known = {*ids} or {version.node for version in kept if name in _names(version)}
            if len(known) > 1:
                raise RefreshRefused(
                    f'Several nodes are called "{name}".', f"Name one: {', '.join(sorted(known))}."
                )
            version = next((version for version in kept if version.node in known), None)
            if version is None:
                relations = sorted({version.relation for version in kept})
                raise RefreshRefused(
                    f'No former table of "{name}" is kept.',
                    did_you_mean(name, [version.node.rsplit(".", 1)[-1] for version in kept])
                    or (
                        f"Kept are {short_list(relations)}."
                        if relations
                        else "None is kept at all."
                    ),
                )
            chosen[version.node] = version
        return chosen

    def _plan(self, engine: Refresher, kept: dict[str, Kept]) -> dict[str, Any]:
        self._parts = {node: self._part(version) for node, version in kept.items()}
        parts = list(self._parts.values())
        previews = [
            replace(preview, kept=kept[preview.node]) for preview in engine.preview(parts, {})
        ]
        refusals = [refused for preview in previews for refused in preview.refusals]
        if refusals and not self._job.details:
            raise RefreshRefused(" ".join(map(str, refusals)))
        if self._job.details:
            previews = [self._with_losses(engine, preview) for preview in previews]
        return {
            "refused": "",
            "nodes": [self._planned_node(part).to_json() for part in parts],
            "warnings": [],
            "notes": [],
            "threads": 1,
            "hooks": 0,
            "parse_warnings": self._project.warnings.to_json(),
            "refresh": [preview.to_json() for preview in previews],
        }

    def _part(self, version: Kept) -> Part:
        live = self._warehouse.folding.name(version.relation)
        node = node_in(self._project.manifest, version.node)
        return Part(
            node=version.node,
            name=name_of(node),
            live=live,
            incoming=Name("", version.schema, live.name),
            is_view=version.kind == "view",
            key=key_of(node),
        )

    def _with_losses(self, engine: Refresher, preview: Preview) -> Preview:
        part = self._parts[preview.node]
        if part.is_view or not preview.exists:
            return preview
        return preview.losing(engine.compare(part, PREVIEW_SECONDS))

    def _planned_node(self, part: Part) -> PlannedNode:
        node = node_in(self._project.manifest, part.node)
        return PlannedNode(
            node=part.node,
            name=part.name,
            type=str(node.resource_type),
            materialized=materialized_as(node),
            relation=str(part.live),
            writes=(self._identity(node, part),),
            path=self._project.path_of(node) if hasattr(node, "original_file_path") else "",
            why="asked for",
        )

    def _identity(self, node: Any, part: Part) -> str:
        """The relation as the queue knows it."""
        rendered = getattr(node, "relation_name", None)
        database = self._project.config.credentials.database
        return self._warehouse.folding.identity(
            rendered or str(replace(part.live, database=database))
        )

    def _swap(self) -> RefreshRefused | None:
        """Swaps all parts; returns why it did not, None when it did."""
        let_interrupts_through()
        run, parts = self._job.run, list(self._parts.values())
        try:
            for part in parts:
                self._recorder.started(part.node, {})
            with in_words(), refresher(self._project.config.credentials) as engine:
                state = engine.begin(run, parts)
                engine.rehearse(parts)
                self._steps.write(Step.REHEARSED, "The swap was rehearsed on empty copies.")
                self._steps.check(engine.settle(parts, self._options, self._steps.waits))
                after_swap.keep(self._job.folder, self._results(""), _end_of("", False))
                self._steps.swap(engine, run, parts, state, self._options)
            return None
        except RefreshRefused as error:
            return error
        except (Interrupted, KeyboardInterrupt):
            return RefreshRefused(INTERRUPTED)

    def _results(self, reason: str) -> list[dict[str, Any]]:
        """The results of its models; `reason` says why they were not swapped."""
        return [self._result(unique_id, part, reason) for unique_id, part in self._parts.items()]

    def _result(self, unique_id: str, part: Part, reason: str) -> dict[str, Any]:
        node = node_in(self._project.manifest, unique_id)
        return {
            "node": unique_id,
            "name": part.name,
            "type": str(node.resource_type),
            "status": "error" if reason else "success",
            "seconds": 0.0,
            "rows": None,
            "message": reason,
            "because": "",
            "relation": str(part.live),
            "materialized": materialized_as(node),
        }


def _end_of(reason: str, sessions_left: bool) -> dict[str, Any]:
    return {"success": not reason, "message": reason, "sessions_left": sessions_left}


def _names(version: Kept) -> set[str]:
    """What people may call a kept relation's model."""
    names = (version.node, version.node.split(".", 2)[-1], version.node.rsplit(".", 1)[-1])
    return {*names, *map(spelled, names)}
