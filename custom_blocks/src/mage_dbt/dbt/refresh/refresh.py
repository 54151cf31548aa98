"""One full refresh in a worker: planned, built aside by dbt, checked, compared, and swapped in.

dbt builds what is aside like anything else. What comes before and after is done here, over a
connection of the refresh's own. Until the swap commits, nothing that anybody reads has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dbt.adapters.factory import get_adapter

from mage_dbt.base.lists import short_list
from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.connection import Interrupted, let_interrupts_through
from mage_dbt.dbt.nodes import is_test, materialized_as, name_of, node_in, reads_of
from mage_dbt.dbt.plan.refusals import refusal
from mage_dbt.dbt.project import Project
from mage_dbt.dbt.queries import compiled_queries
from mage_dbt.dbt.refresh.aside import Aside
from mage_dbt.dbt.refresh.steps import Steps, goes_on, in_words, refresher
from mage_dbt.dbt.results.recorder import Recorder
from mage_dbt.model.refresh import Check, CheckName, Preview, RefreshOptions, Refusal, Step
from mage_dbt.model.run import INTERRUPTED, PASSED, RESUMABLE_FOR, UNDECIDED, asked_at_of
from mage_dbt.model.windows import Window, merged
from mage_dbt.warehouse import Target, Warehouse
from mage_dbt.warehouse.refresh import Part, Refresher, RefreshRefused, State
from mage_dbt.workers.job import Job

WaitForSwap = Callable[[float], bool]
"""Waits this many seconds for the decision to swap; returns whether it came."""


PREPARED = (
    "A prepared statement with `select *` fails once after the swap, because its columns change. "
    "One that names its columns does not."
)


class NotBuilt(RefreshRefused):
    """dbt has not built everything aside."""


class Refresh:
    """The refresh of one job. `plan`, then `begin` at its turn, then `finish` after dbt."""

    def __init__(
        self,
        job: Job,
        options: RefreshOptions,
        project: Project,
        arguments: list[str],
        warehouse: Warehouse,
        recorder: Recorder,
        wait_for_swap: WaitForSwap,
    ) -> None:
        self._job = job
        self._options = options
        self._project = project
        self._arguments = arguments
        self._recorder = recorder
        self._steps = Steps(recorder)
        self._wait_for_swap = wait_for_swap
        self._aside = Aside(project.manifest, warehouse.folding)
        self._planned: Sequence[Any] = ()
        self._parts: list[Part] = []
        self._state = State()
        self._filled: dict[str, int] = {}
        self.resumes = False
        """Whether it goes on with what an earlier run has built aside; after `begin`."""

    @property
    def unknown(self) -> bool:
        """Whether nobody knows yet if it has swapped; after `finish`."""
        return self._steps.unknown

    @contextmanager
    def selecting(self) -> Iterator[None]:
        """In this block dbt selects what a full refresh rebuilds."""
        with self._aside.leaving_out():
            yield

    # ------------------------------------------------------------- planning

    def plan(
        self, planned: Sequence[Any], targets: Mapping[str, Target]
    ) -> tuple[dict[str, Any] | None, list[Preview], dict[str, Target]]:
        """Why it is refused, if it is; what it would do to each relation; and what dbt will drop.

        Whoever reads the plan sees all refusals in the previews. Raises RefreshRefused where the
        warehouse cannot be asked.
        """
        self._planned = planned
        refusals = self._aside.refusals(planned)
        with in_words(), refresher(self._credentials) as engine:
            self._parts = self._aside.parts(
                planned,
                lambda schema, others: engine.aside_schema(self._job.run, schema, others),
            )
            previews = self._previews(engine, refusals)
        if not self._parts and not refusals:
            notes = self._aside.notes() or ["No table is among what was chosen."]
            return (
                refusal("request", " ".join(notes), "Nothing is left for a full refresh to do."),
                [],
                {},
            )
        found = [refused for preview in previews for refused in preview.refusals]
        answer = None
        if found and not self._job.details:
            answer = refusal("request", " ".join(map(str, found)))
        parts = {part.node for part in self._parts}
        left = {
            node: replace(target, drops=frozenset(), builds_aside=False)
            if node in parts
            else target
            for node, target in targets.items()
        }
        return answer, previews, left

    def notes(self) -> list[str]:
        """Sentences on what keeps its rows: what was chosen, and what reads what was chosen."""
        return [*self._aside.notes(), *(self._offers() if self._job.details else ())]

    def _offers(self) -> Iterator[str]:
        """The incremental models that read what is refreshed and are not refreshed themselves."""
        behind: dict[str, list[str]] = {}
        for node in self._project.manifest.nodes.values():
            for up in reads_of(node):
                behind.setdefault(up, []).append(node.unique_id)
        waiting, seen = [*self._node_ids], set(self._node_ids)
        while waiting:
            new = set(behind.get(waiting.pop(), ())) - seen
            seen |= new
            waiting += new
        nodes = (node_in(self._project.manifest, node) for node in seen - self._node_ids)
        names = sorted(
            name_of(node)
            for node in nodes
            if materialized_as(node) == "incremental" and node.config.full_refresh is not False
        )
        if names:
            yield (
                f"{short_list(names)} read{'s' * (len(names) == 1)} it and keep"
                f"{'s' * (len(names) == 1)} the old rows: refresh with what reads it "
                "(`with_downstream`) to rebuild them too."
            )

    def _previews(self, engine: Refresher, refusals: Sequence[Refusal]) -> list[Preview]:
        ids = [part.node for part in self._parts if not self._reads_a_part(part)]
        queries, problems = compiled_queries(self._project, self._arguments, ids)
        previews = engine.preview(self._parts, queries) if self._parts else []
        previews = [self._explained(preview, problems) for preview in previews]
        if refusals and previews:
            first = replace(previews[0], refusals=(*refusals, *previews[0].refusals))
            return [first, *previews[1:]]
        if refusals:
            return [Preview("", "", "", refusals=tuple(refusals))]
        return previews

    def _explained(self, preview: Preview, problems: Mapping[str, str]) -> Preview:
        """With why its columns are not known, or what follows from their change."""
        if preview.columns and preview.exists:
            return replace(preview, notes=(*preview.notes, PREPARED))
        if not preview.columns_unknown or preview.node not in self._node_ids:
            return preview
        part = next(part for part in self._parts if part.node == preview.node)
        if reads := self._reads_a_part(part):
            return replace(preview, columns_unknown=f"it reads {reads}, which is rebuilt before it")
        return replace(preview, columns_unknown=problems.get(preview.node, preview.columns_unknown))

    @property
    def _node_ids(self) -> set[str]:
        return {part.node for part in self._parts}

    def _reads_a_part(self, part: Part) -> str:
        """The name of another part that this one reads, directly or not; empty without one.

        Its columns may be other ones before that part is rebuilt.
        """
        names = {other.node: other.name for other in self._parts}
        nodes = {node.unique_id: node for node in self._planned}
        waiting, seen = [part.node], {part.node}
        while waiting:
            for up in reads_of(nodes[waiting.pop()]):
                if up in names and up != part.node:
                    return names[up]
                if up in nodes and up not in seen:
                    seen.add(up)
                    waiting.append(up)
        return ""

    # ------------------------------------------------------------ execution

    def begin(self) -> None:
        """At the run's turn: makes the schemas aside, and moves the nodes there.

        Raises RefreshRefused.
        """
        try:
            with in_words(), refresher(self._credentials) as engine:
                if self._job.resume:
                    self.resumes = engine.adopt(self._job.resume, self._job.run, self._parts)
                self._state = engine.begin(self._job.run, self._parts)
        except RefreshRefused as error:
            credentials, run = self._credentials, self._job.run
            reason = self._steps.settle_up(credentials, run, error, gives_back=True)
            raise RefreshRefused(reason) from error
        config = self._project.config
        relation = get_adapter(config).Relation
        self._aside.move(self._parts, lambda node: relation.create_from(config, node))
        self._recorder.hold_back(self._aside.live, self)
        names = ", ".join(part.name for part in self._parts)
        self._steps.write(Step.ASIDE, f"Built aside: {names}. Readers see the present rows.")

    def built(self, node: str, name: str, seconds: float, rows: int | None) -> None:
        counted = "" if rows is None else f" {rows:,} rows,"
        text = f"{name} is built aside:{counted} {seconds:.1f} s."
        self._steps.write(Step.BUILT, text, node=node)

    def fills(self, node: str, windows: tuple[Window, ...]) -> None:
        times = short_list([str(window) for window in merged(windows)])
        text = f"{self._name(node)} is filled batch by batch: {times}."
        self._steps.write(Step.BATCHES, text, node=node, windows=windows)

    def filled(self, node: str, window: Window, number: int, of: int) -> None:
        self._filled[node] = self._filled.get(node, 0) + 1
        text = f"{self._name(node)}: batch {window}; {self._filled[node]} of {of} are built."
        self._steps.write(Step.BATCH, text, node=node, windows=(window,))

    def _name(self, node: str) -> str:
        return next(part.name for part in self._parts if part.node == node)

    def finish(self, done: Any) -> str:
        """After dbt's command: swaps what was built, or drops it. Returns why it was not swapped,
        empty when it was."""
        let_interrupts_through()
        try:
            with in_words():
                self._check(getattr(done.result, "results", None) or [], done)
                self._hold()
                self._recorder.keep_for_the_swap(done)
                with refresher(self._credentials) as engine:
                    self._steps.swap(engine, self._job.run, self._parts, self._state, self._options)
            return ""
        except RefreshRefused as refused:
            error = refused
        except (Interrupted, KeyboardInterrupt):
            error = RefreshRefused(INTERRUPTED)
        interrupted = isinstance(done.exception, KeyboardInterrupt)
        if isinstance(error, NotBuilt) and self._filled and not interrupted:
            self._keep_for_a_rerun()
            return scrub(str(error))
        # Without a batch of its own all that is aside is what an earlier run has left, and whole.
        return self._steps.settle_up(
            self._credentials,
            self._job.run,
            error,
            gives_back=isinstance(error, NotBuilt) and not self._filled,
        )

    def _keep_for_a_rerun(self) -> None:
        until = asked_at_of(self._job.run) + RESUMABLE_FOR
        text = f"The batches that are built stay aside. {goes_on()}"
        self._steps.write(Step.RESUMABLE, text, until=until)

    def _check(self, results: Sequence[Any], done: Any) -> None:
        """All that comes before the decision. Raises RefreshRefused."""
        self._require_built(results, done)
        options = self._options
        with refresher(self._credentials) as engine:
            checks = [self._tests(results), *engine.check(self._parts, self._state, options)]
            for check in sorted(checks, key=lambda check: check.stops):  # all are recorded
                self._steps.check(check)
            engine.rehearse(self._parts)
            self._steps.write(Step.REHEARSED, "The swap was rehearsed on empty copies.")
            if options.compare_seconds:
                for part in self._parts:
                    self._compare(engine, part)
            self._steps.check(engine.settle(self._parts, options, self._steps.waits))

    def _require_built(self, results: Sequence[Any], done: Any) -> None:
        """Raises NotBuilt unless dbt has built every part."""
        states = {result.node.unique_id: str(result.status) for result in results}
        missing = [part.name for part in self._parts if states.get(part.node) not in PASSED]
        failed = [
            name_of(result.node)
            for result in results
            if str(result.status) not in (*PASSED, "skipped") and not is_test(result.node)
        ]
        if failed or missing:
            raise NotBuilt(f"Not built: {', '.join(failed or missing)}.")
        if done.exception:
            raise NotBuilt(str(done.exception).strip())

    def _tests(self, results: Sequence[Any]) -> Check:
        tests = [result for result in results if is_test(result.node)]
        if not tests:
            none = "They have no dbt tests." if len(self._parts) > 1 else "It has no dbt tests."
            return Check(CheckName.TESTS, True, none, applies=False)
        failed = [name_of(test.node) for test in tests if str(test.status) not in PASSED]
        text = f"{len(tests) - len(failed)} of {len(tests)} dbt tests passed"
        text += f"; not {', '.join(failed)}." if failed else "."
        overridden = bool(failed) and CheckName.TESTS in self._options.override
        return Check(CheckName.TESTS, not failed, text, overridden=overridden)

    def _compare(self, engine: Refresher, part: Part) -> None:
        if part.is_view:
            return
        found = engine.compare(part, self._options.compare_seconds)
        self._steps.write(
            Step.COMPARED,
            f"{part.name} was compared with its present rows.",
            node=part.node,
            comparison=found,
        )

    def _hold(self) -> None:
        """Waits for somebody's decision, where the request asks for it. Raises RefreshRefused."""
        seconds = self._options.hold_seconds
        if not seconds:
            return
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        names = ", ".join(part.name for part in self._parts)
        self._steps.write(Step.HOLDS, f"{names}: ready to swap. Nothing has changed.", until=until)
        if not self._wait_for_swap(seconds):
            raise RefreshRefused(
                f"{UNDECIDED} within {seconds // 60} minutes.",
                "Ask for the refresh again.",
            )

    @property
    def _credentials(self) -> Any:
        """Each stage opens a session with them: one that idles through dbt's build may end."""
        return self._project.config.credentials
