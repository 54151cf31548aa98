"""One job on a parsed project: dbt selects, the plan is told, dbt executes, each event is told.

It is one dbt command. Between its selection and its first statement the plan goes out and the
command waits for its turn, so what was planned and what runs cannot differ.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any
from zoneinfo import ZoneInfo

import dbt.tracking
from dbt.adapters.factory import get_adapter
from dbt.flags import get_flags
from dbt.node_types import RunHookType
from dbt_common.events.base_types import EventMsg
from dbt_common.events.contextvars import get_node_info
from dbt_common.exceptions import DbtDatabaseError
from google.protobuf.json_format import MessageToDict

from mage_dbt.clock import Clock
from mage_dbt.lists import short_list
from mage_dbt.plan import PlannedNode
from mage_dbt.reason import words_first
from mage_dbt.redaction import scrub, scrub_told
from mage_dbt.run import PASSED, EventKind
from mage_dbt.variables import to_yaml
from mage_dbt.warehouse import Target, warehouse_of
from mage_dbt.worker import EVENTS_FILE, Job, drops, server_errors, session_names, unmatched
from mage_dbt.worker.batches import Batches
from mage_dbt.worker.causes import Causes
from mage_dbt.worker.chosen import Chosen, selecting
from mage_dbt.worker.guard import SELECT_THEM, Guard, rows
from mage_dbt.worker.missing import Relations
from mage_dbt.worker.nodes import (
    WRITTEN,
    Unplanned,
    is_test,
    materialized_as,
    name_of,
    node_in,
    reads_of,
    runs,
)
from mage_dbt.worker.project import QUIET, Project
from mage_dbt.worker.reads import relations_read
from mage_dbt.worker.reasons import has_operator, why_in, without_operators
from mage_dbt.worker.remedies import kept_definitions, remedy_of

COUNTED = ("pass", "warn", "fail")
"""Statuses of tests that have counted their failures."""

AT_ONCE_SECONDS = 0.25
"""A turn that comes sooner was not waited for: what the plan says has just been looked up."""


class Refused(Exception):
    """Ends dbt's command when the job cannot be planned; the answer says why."""


class RefusedAtItsTurn(Exception):
    """Ends dbt's command before its first statement; the text says why."""


class Session:
    """One job: planning, executing, and telling what happens."""

    def __init__(self, job: Job, project: Project, common: list[str]) -> None:
        self._job = job
        self._project = project
        self._manifest = project.manifest
        self._common = common
        self._task: Any = None
        self._unmatched: list[str] = []
        self._planned: dict[str, Any] = {}
        self._told: set[str] = set()
        self._causes = Causes(lambda one: reads_of(self._node(one)))
        self._chosen = Chosen(job, project.manifest) if job.nodes or job.models else None
        self._batches = Batches(job, project.manifest)
        self._warehouse = warehouse_of(self._manifest.metadata.adapter_type or "", self._query)
        self._guard = Guard(self._warehouse, (), False, self._label, self._is_after)
        self._events = (job.folder / EVENTS_FILE).open("a", buffering=1)

    def carry(self, answer: Callable[[dict[str, Any]], object], turn: Callable[[], None]) -> None:
        """Plans, answers with the plan or why it is refused, waits for its turn, and executes."""
        if refused := self._refused_by_id():
            answer(refused)
            return
        answered = begun = False
        failed: BaseException | None = None

        def selected(task: Any) -> None:
            nonlocal answered, begun, failed
            try:
                self._task = task
                self._project.learn_places(task.config)
                plan = self._plan()
                answer(plan)
                answered = True
                if plan["refused"]:
                    raise Refused
                asked_at = time.monotonic()
                turn()
                self._look_again(waited=time.monotonic() - asked_at)
                self._batches.take_over(task, self._result_in_time, self._started)
            except BaseException as error:
                failed = error
                raise
            # What a model reads as run_started_at is when it ran, not when it came into the line.
            user = dbt.tracking.active_user
            user.run_started_at = datetime.now(tz=user.run_started_at.tzinfo)
            begun = True

        # Only the selected nodes' schemas: others are looked at when they are asked for.
        words = [self._job.command, *self._common, "--cache-selected-only"]
        words += [*self._selection(), *self._job.flags]
        done = self._project.invoke_selected(words, selected, self._hear, self._chosen)
        if begun:
            self._end(done)
        elif isinstance(failed, RefusedAtItsTurn):
            self._tell("end", success=False, message=str(failed))
        elif failed is not None and not isinstance(failed, Refused):
            raise failed
        elif not answered:
            answer(refusal("selection", *unmatched.refused(done.exception)))

    def _plan(self) -> dict[str, Any]:
        """The answer to the parent: nodes in order and warnings, or why it is refused."""
        ids = {*self._task.job_queue.get_selected_nodes()}
        ids.update(getattr(self._task, "selected_unit_tests", ()))
        chosen = [self._node(one) for one in sorted(ids)]
        self._planned = {node.unique_id: node for node in self._in_order(chosen) if runs(node)}
        wrong = [one for one in self._unmatched if one not in self._job.exclude]
        wrong = [] if self._job.nodes else wrong  # a rerun knows its nodes
        if wrong or not self._planned:
            return self._nothing_matches(wrong)
        # These ask the warehouse, or dbt again; the task's own connections are as before.
        refreshes = drops.asked("FULL_REFRESH")
        kept, all_kept = drops.kept(self._planned.values()) if refreshes else ([], False)
        if all_kept:
            return refusal("request", " ".join(kept), "Nothing is left for a full refresh to do.")
        targets = self._targets()
        self._guard = Guard(
            self._warehouse,
            list(targets.values()),
            self._job.keep_views and refreshes,
            self._label,
            self._is_after,
        )
        lost = self._guard.look()
        if why := self._guard.refusal(lost):
            return refusal("request", why, SELECT_THEM)
        there = self._rows(targets.values()) if self._job.details else {}
        unknown = self._warehouse.unknown if self._job.details and targets else ""
        reasons = self._reasons()
        reads = relations_read(self._planned, self._node)
        return {
            "refused": "",
            "nodes": [
                replace(
                    self._planned_node(node),
                    reads=self._identities(reads[one]),
                    why=reasons.get(one, ""),
                    rows=there.get(one),
                    writes=self._warehouse.written(targets[one]) if one in targets else (),
                ).to_json()
                for one, node in self._planned.items()
            ],
            "warnings": [
                *self._project.differences,
                *self._guard.news(lost),
                *(self._granted(targets) if self._job.details and refreshes else ()),
                *self._batches.warnings(self._planned.values()),
                *(self._stale_sources() if self._job.details else ()),
            ],
            "notes": [
                *self._rerun_notes(),
                *kept,
                *([unknown] if unknown else ()),
            ],
            "threads": int(self._task.config.threads),
            "hooks": self._hooks(),
            "parse_warnings": self._project.warnings.to_json(),
        }

    def _granted(self, targets: Mapping[str, Target]) -> Iterator[str]:
        """What a full refresh takes from who may read its tables now."""
        with suppress(DbtDatabaseError):
            granted = self._warehouse.granted([*targets.values()])
            yield from drops.not_granted_again(self._planned.values(), granted)

    def _hooks(self) -> int:
        """How many hooks this command runs at its start and its end."""
        if not hasattr(self._task, "safe_run_hooks"):
            return 0
        return sum(len(self._task.get_hooks_by_type(kind)) for kind in RunHookType)

    def _look_again(self, waited: float) -> None:
        """At its turn: what depends on what will be dropped may have come while the run waited.

        Raises RefusedAtItsTurn.
        """
        if waited < AT_ONCE_SECONDS and not self._guard.keeps:
            return
        lost = self._guard.look()
        if why := self._guard.refusal(lost):
            raise RefusedAtItsTurn(f"{why} {SELECT_THEM}")
        for text in self._guard.news(lost):
            self._tell("log", level="warn", text=text)
        self._guard.watch(get_adapter(self._task.config))

    def _end(self, done: Any) -> None:
        """Tells what dbt tells only at the end: hooks, and how it all ended."""
        for one in getattr(done.result, "results", None) or []:
            self._result(one)
        for text in kept_definitions(self._warehouse, getattr(done.result, "results", None) or []):
            self._tell("log", level="warn", text=text)
        self._tell(
            "end",
            success=bool(done.success),
            message=message_of(done.exception) if done.exception else "",
            sessions_left=session_names.left_behind,
        )

    def _refused_by_id(self) -> dict[str, Any] | None:
        """Why the nodes that the job names by id or name cannot be taken, if they cannot."""
        commit = self._job.commit[:7]
        if self._job.nodes and all(
            isinstance(self._node(one), Unplanned) for one in self._job.nodes
        ):
            return refusal(
                "selection",
                f"None of the nodes to run again is enabled at {commit} with these variables.",
                "Run what replaces them.",
            )
        if self._job.nodes or self._chosen is None:
            return None
        for name, nodes in self._chosen.meant.items():
            if len(nodes) > 1:
                return refusal(
                    "selection",
                    f'Several nodes are called "{name}" in dbt-metric at {commit}.',
                    f"Name one: {', '.join(nodes)}.",
                )
        wrong = [name for name, nodes in self._chosen.meant.items() if not nodes]
        return self._nothing_matches(wrong) if wrong else None

    def _result_in_time(self, result: Any) -> None:
        """What dbt writes in the end of a node that it interrupts may be another thing."""
        if not self._interrupted():
            self._result(result)

    def _result(self, result: Any) -> None:
        """Tells what dbt has made of a node, unless its event has told it."""
        if result.node.unique_id not in self._told:
            self._finished(
                result.node,
                str(result.status),
                result.execution_time,
                self._batches.message_of(result),
                dict(result.adapter_response or {}),
                result.failures,
                **self._batches.filled_by(result),
            )

    def _selection(self) -> list[str]:
        flags: list[str] = []
        if self._job.select:
            flags += ["--select", *self._job.select]
        if self._job.exclude:
            flags += ["--exclude", *self._job.exclude]
        return flags

    def _reasons(self) -> dict[str, str]:
        """By unique id, why each planned node is in the plan."""
        if self._chosen and self._job.nodes:
            along = {
                one: f"read by {reader}, and not in the warehouse"
                for one, reader in self._chosen.along.items()
            }
            given = along | dict(self._job.nodes)
            return given | why_in(self._edges(), given.keys(), given)
        if self._chosen:
            asked = {one for nodes in self._chosen.meant.values() for one in nodes}
            return why_in(self._edges(), asked, {})
        if self._selector:
            return dict.fromkeys(self._planned, f"chosen by {self._selector}")
        if not self._job.select:
            return dict.fromkeys(self._planned, "everything was asked for")
        if not any(has_operator(one) for one in self._job.select):
            asked = {one for one, node in self._planned.items() if not is_test(node)}
        elif self._job.details:
            asked = self._asked_for()
        else:  # telling them apart takes dbt as long again as the selection; a run does not wait
            chosen = f"chosen by {' '.join(self._job.select)}"
            return dict.fromkeys(self._planned, chosen)
        return why_in(self._edges(), asked, {})

    @property
    def _selector(self) -> str:
        """The project's selector that chooses the nodes, in words: the one that was named, or its
        default where nothing was (dbt's rule: `GraphRunnableTask.get_selection_spec`)."""
        task = self._task
        name = task.args.selector or (
            not (self._job.models or task.selection_arg or task.exclusion_arg)
            and task.config.get_default_selector_name()
        )
        return f"the selector {name} (selectors.yml)" if name else ""

    def _edges(self) -> dict[str, list[str]]:
        """What each planned node reads, in the plan's order; tests last, as leaves."""
        nodes = sorted(self._planned.values(), key=is_test)
        return {node.unique_id: reads_of(node) for node in nodes}

    def _asked_for(self) -> set[str]:
        """The nodes that the criteria match without their graph operators: dbt's own answer."""
        criteria = [without_operators(one) for one in self._job.select]
        only = ["--output", "json", "--output-keys", "unique_id", "--indirect-selection", "empty"]
        listed = self._project.invoke(["ls", *self._common, "--select", *criteria, *only])
        return {json.loads(line)["unique_id"] for line in listed.result or []}

    def _rerun_notes(self) -> Iterator[str]:
        """For a rerun: what is left out, what came since, and what runs beyond that."""
        yield from filter(None, (one.told(self._planned) for one in self._job.left_out))
        if self._chosen and self._chosen.without:
            yield (
                f"The selector {self._chosen.without} is not at {self._job.commit[:7]}: what came "
                "since the first run is left out."
            )
        for one in self._job.nodes:
            if one not in self._planned and isinstance(self._node(one), Unplanned):
                yield f"{one.split('.')[2]} is disabled with these variables: left out."
        for one, node in self._planned.items():
            if self._project.path_of(node) in self._job.added and not is_test(node):
                read = [self._label(up) for up in reads_of(node) if up in self._planned]
                if read:
                    yield f"{self._label(one)} was added since and reads {short_list(read)}."
        along = [
            one for one in (self._chosen.along if self._chosen else ()) if one in self._planned
        ]
        if along:
            names = short_list([self._label(one) for one in along])
            yield f"Not in the warehouse, and read by what runs, so built too: {names}."

    def _rows(self, targets: Iterable[Target]) -> dict[str, int]:
        with suppress(DbtDatabaseError):
            return self._warehouse.rows(list(targets))
        return {}

    def _stale_sources(self) -> list[str]:
        """Sentences on planned nodes' sources that dbt calls stale, by their own freshness."""
        read = {up for node in self._planned.values() for up in reads_of(node)}
        sources = [
            self._manifest.sources[one] for one in sorted(read & self._manifest.sources.keys())
        ]
        checked = [one for one in sources if one.freshness]
        if not checked:
            return []
        ids = {one.unique_id for one in checked}
        with selecting(lambda *_: ids):
            done = self._project.invoke(["source", "freshness", *self._common])
        results = getattr(done.result, "results", None) or []
        return [
            _staleness(one, self._job.zone)
            for one in results
            if str(one.status) not in ("pass", "success")
        ] or (
            []
            if results
            else [f"dbt could not tell how fresh its sources are: {message_of(done.exception)}"]
        )

    def _node(self, unique_id: str) -> Any:
        return node_in(self._manifest, unique_id)

    def _in_order(self, chosen: list[Any]) -> Iterable[Any]:
        nodes = {node.unique_id: node for node in chosen}
        # Sorted: a set's order is another one in each process, and the digest holds the order.
        reads = {one: sorted(nodes.keys() & reads_of(node)) for one, node in nodes.items()}
        for order in TopologicalSorter(reads).static_order():
            yield nodes[order]

    def _planned_node(self, node: Any) -> PlannedNode:
        writes = self._job.command != "compile" and str(node.resource_type) in WRITTEN
        return PlannedNode(
            node=node.unique_id,
            name=name_of(node),
            type=str(node.resource_type),
            materialized=materialized_as(node),
            relation=(getattr(node, "relation_name", None) or "") if writes else "",
            depends_on=tuple(reads_of(node)),
            fqn=".".join(node.fqn),
            path=self._project.path_of(node),
        )

    def _identities(self, relations: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted({self._warehouse.folding.identity(one) for one in relations}))

    def _targets(self) -> dict[str, Target]:
        """By unique id, what each planned node writes."""
        if self._job.command == "compile":
            return {}
        adapter, config = get_adapter(self._task.config), self._task.config
        found = drops.targets(
            self._planned.values(), lambda node: adapter.Relation.create_from(config, node)
        )
        return {one.node: one for one in found}

    def _is_after(self, one: str, other: str) -> bool:
        """Whether dbt's graph leads from `other` to `one`."""
        seen: set[str] = set()
        line = [one]
        while line:
            for up in reads_of(self._node(line.pop())):
                if up == other:
                    return True
                if up not in seen:
                    seen.add(up)
                    line.append(up)
        return False

    def _query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a read-only query on the warehouse, over dbt's own connection."""
        adapter = get_adapter(self._task.config)
        with adapter.connection_named("master"):
            return rows(adapter, sql)

    def _nothing_matches(self, wrong: list[str]) -> dict[str, Any]:
        for one in wrong:
            name = without_operators(one)
            if any(
                name == node.name for nodes in self._manifest.disabled.values() for node in nodes
            ):
                return refusal(
                    "selection",
                    f'"{name}" is disabled in dbt-metric at {self._job.commit[:7]}.',
                    "Its configuration says `enabled: false`; leave it out, or enable it.",
                )
        if not wrong:
            asked = (
                self._selector or " ".join((*self._job.select, *self._job.models)) or "everything"
            )
            return refusal(
                "selection",
                f"The selection matches nothing to {self._job.command}: {asked}.",
                "",
            )
        where = f"in dbt-metric at {self._job.commit[:7]}"
        return refusal("selection", *unmatched.told(wrong, self._manifest, where))

    def _hear(self, event: EventMsg) -> None:
        """dbt calls this in the thread of a node, and takes what it raises for the node's error. So
        it raises nothing: what it could not tell is told at the end, from dbt's results."""
        try:
            self._take(event)
        except Exception:
            traceback.print_exc()

    def _take(self, event: EventMsg) -> None:
        name = event.info.name
        if name == "NoNodesForSelectionCriteria":
            self._unmatched.append(event.data.spec_raw)
        elif name == "NodeStart":
            node = event.data.node_info
            if self._batches.begins(node.unique_id):
                return
            if node.unique_id in self._planned:
                self._started(node.unique_id, {})
        elif name == "NodeFinished":
            result = MessageToDict(event.data.run_result, preserving_proto_field_name=True)
            node = self._node(event.data.node_info.unique_id)
            batch = self._batches.ends(node.unique_id, result["status"], result.get("message", ""))
            if batch is not None:
                if batch:
                    self._tell("log", level="error", text=f"{self._label(node.unique_id)}, {batch}")
                return
            if self._interrupted():
                return  # what dbt writes of it in the end may be another thing
            self._finished(
                node,
                result["status"],
                result.get("execution_time", 0.0),
                result.get("message", ""),
                result.get("adapter_response", {}),
                # 0 is left out of such an event, and None is told as 0.
                result.get("num_failures", 0) if result["status"] in COUNTED else None,
            )
        elif name == "GenericExceptionOnRun":
            self._batches.raised(event.data.exc)
        elif name == "LogBatchResult":
            self._batches.named(event.data.description)
        elif event.info.level == "warn" and not hasattr(event.data, "node_info"):
            self._tell("log", level="warn", text=event.info.msg)
        elif name == "JinjaLogWarning":  # of a model's own: `exceptions.warn`
            node = str((get_node_info() or {}).get("unique_id", ""))  # of this thread
            text = f"{self._label(node)}: {event.info.msg}" if node else event.info.msg
            self._tell("log", level="warn", text=text)

    def _started(self, unique_id: str, more: Mapping[str, Any]) -> None:
        self._tell(
            "node_started",
            node=unique_id,
            name=self._label(unique_id),
            compiled=self._compiled(unique_id),
            **more,
        )

    def _interrupted(self) -> bool:
        """Whether dbt is failing fast: what is under way then is ended, and told as an error first
        (`server closed the connection`), and in the results as skipped."""
        return bool(get_flags().FAIL_FAST) and self._causes.any_failed

    def _finished(
        self,
        node: Any,
        status: str,
        seconds: float,
        message: str,
        response: Mapping[str, Any],
        failures: int | None,
        **more: Any,
    ) -> None:
        if not runs(node):
            return  # an exposure: dbt names it and does nothing
        is_test = str(node.resource_type) in ("test", "unit_test")
        self._tell(
            "node_finished",
            node=node.unique_id,
            name=name_of(node),
            type=str(node.resource_type),
            status=status,
            seconds=round(seconds, 3),
            rows=failures if is_test else rows_of(response),
            message=self._reason(node, status, message),
            because=self._because(node) if status == "skipped" else "",
            relation=getattr(node, "relation_name", None) or "",
            materialized=materialized_as(node),
            **more,
        )
        self._told.add(node.unique_id)
        self._causes.finished(node.unique_id, status)

    def _compiled(self, unique_id: str) -> str:
        """Where dbt writes a node's compiled SQL, from the run's folder; empty for a seed."""
        node = self._node(unique_id)
        if str(node.resource_type) == "seed" or not hasattr(node, "get_target_write_path"):
            return ""
        return str(node.get_target_write_path("target", "compiled"))

    def _because(self, node: Any) -> str:
        cause = self._causes.of(node.unique_id)
        return self._label(cause) if cause else ""

    def _reason(self, node: Any, status: str, message: str) -> str:
        """What dbt says of a node, the words that it quotes first; and what is to be done."""
        if status in PASSED:
            return message
        remedies = (
            remedy_of(node, status, message),
            self._relations_missing(message) if status == "error" else "",
        )
        return "\n\n".join(filter(None, (words_first(message), *remedies)))

    def _relations_missing(self, message: str) -> str:
        error = server_errors.last_in(message)
        return self._relations.remedy(error) if error else ""

    @cached_property
    def _relations(self) -> Relations:
        built = (one for one in self._manifest.nodes.values() if str(one.resource_type) in WRITTEN)
        return Relations(built, self._manifest.sources.values(), self._warehouse.folding)

    def _label(self, unique_id: str) -> str:
        node = self._node(unique_id)
        return unique_id if isinstance(node, Unplanned) else name_of(node)

    def _tell(self, kind: str, **data: Any) -> None:
        told = {"at": time.time(), "kind": EventKind(kind), **data}
        self._events.write(json.dumps(scrub_told(told)) + "\n")


def _staleness(result: Any, zone: str) -> str:
    """One sentence on a source that is not fresh, or of which dbt cannot tell."""
    name = f"{result.node.source_name}.{result.node.name}"
    newest = getattr(result, "max_loaded_at", None)
    if newest is not None and newest.year == 1:  # dbt's way to say so
        return f"The source {name} is stale: it has no rows."
    if newest is None:
        return (
            f"dbt could not tell how fresh the source {name} is: {result.message or result.status}"
        )
    hours = result.age / 3600
    when = Clock(ZoneInfo(zone)).say_with_zone(newest)
    return f"The source {name} is stale: its newest row is {hours:.0f} h old ({when})."


def message_of(error: BaseException | None) -> str:
    return words_first(scrub(str(error).strip())) if error else "dbt gave no reason."


def rows_of(response: Mapping[str, Any]) -> int | None:
    """How many rows an adapter says were written; None where it does not know (-1, or nothing). It
    says a text of a materialized view that is left as it is."""
    try:
        rows = int(float(response.get("rows_affected", -1)))
    except (TypeError, ValueError, OverflowError):
        return None
    return rows if rows >= 0 else None


def refusal(what: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"refused": what, "message": message, "hint": hint}


def arguments_of(job: Job) -> list[str]:
    """dbt's flags for any command of this job: where everything is, and the variables."""
    return [
        *(*job.dbt_arguments, *QUIET),
        *("--target-path", str(job.folder / "target")),
        *("--log-path", str(job.folder / "logs")),
        *("--vars", to_yaml(job.variables)),
    ]
