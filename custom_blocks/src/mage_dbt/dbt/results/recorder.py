"""Records what happens in a run: dbt's events and results, as events of ours in a file."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol

from dbt.contracts.graph.manifest import Manifest
from dbt_common.events.base_types import EventMsg
from dbt_common.events.contextvars import get_node_info
from google.protobuf.json_format import MessageToDict

from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.nodes import (
    WRITTEN,
    flag,
    generic_test_of,
    is_test,
    label,
    materialized_as,
    name_of,
    node_in,
    reads_of,
    runs,
)
from mage_dbt.dbt.results import after_swap
from mage_dbt.dbt.results.batches import Batches
from mage_dbt.dbt.results.failures import (
    NO_FAILURE,
    Causes,
    Relations,
    ServerError,
    error_of,
    hook_of,
    kept_definitions,
    remedy_of,
)
from mage_dbt.dbt.results.hidden_columns import of_project
from mage_dbt.model.reason import words_first
from mage_dbt.model.run import INTERRUPTED, PASSED, UNDECIDED, EventKind
from mage_dbt.model.windows import Filled, Window
from mage_dbt.warehouse import Warehouse
from mage_dbt.workers.job import EVENTS_FILE, Job

COUNTED = ("pass", "warn", "fail")
"""Statuses of tests that have counted their failures."""


class Aside(Protocol):
    """Hears of the nodes that are built aside, by unique id."""

    def built(self, node: str, name: str, seconds: float, rows: int | None) -> None:
        """A node was built."""

    def fills(self, node: str, windows: tuple[Window, ...]) -> None:
        """A microbatch model begins to fill these windows."""

    def filled(self, node: str, window: Window, number: int, of: int) -> None:
        """It has filled one."""


class Recorder:
    """The events of one run. dbt calls it from many threads."""

    def __init__(
        self, job: Job, manifest: Manifest, batches: Batches, warehouse: Warehouse
    ) -> None:
        self._manifest = manifest
        self._batches = batches
        self._warehouse = warehouse
        of_project(manifest)
        self._is_planned: Callable[[str], bool] = lambda _: False
        self._finished: set[str] = set()
        self._causes = Causes(lambda unique_id: reads_of(node_in(manifest, unique_id)))
        self._folder = job.folder
        self._events = (job.folder / EVENTS_FILE).open("a", buffering=1)
        self.unmatched: list[str] = []
        """Criteria that, by dbt, match nothing."""
        self._held: list[dict[str, Any]] | None = None
        self._live: Mapping[str, str] = {}
        self._aside: Aside
        self.on_end: Callable[[str, str], None] = lambda node, status: None
        """Hears of every node that has ended: unique id, status. dbt waits for it."""

    def expect(self, planned: Callable[[str], bool]) -> None:
        """Only the planned nodes' starts are recorded."""
        self._is_planned = planned

    def hear(self, event: EventMsg) -> None:
        """Takes an event of dbt's.

        dbt calls this in the thread of a node and would take what it raises for the node's error.
        So it raises nothing; what it misses is recorded at the end, from dbt's results.
        """
        try:
            self._take(event)
        except Exception:
            traceback.print_exc()

    def write(self, kind: EventKind, **data: Any) -> None:
        """Appends one event, without secrets."""
        self._events.write(after_swap.line(kind, data))

    def write_unless_swapped(self) -> None:
        """From now on what is written counts only where the warehouse shows no swap of the run."""
        self._events.close()
        self._events = (self._folder / after_swap.UNLESS_SWAPPED).open("w", buffering=1)

    def warn(self, text: str) -> None:
        """Appends a warning to the run's log."""
        self.write(EventKind.LOG, level="warn", text=text)

    def fills(self, unique_id: str, batches: Mapping[str, Any]) -> None:
        """Records the windows that a microbatch model begins to fill."""
        if unique_id in self._live:
            self._aside.fills(unique_id, Filled.from_json(batches["batches"]).failed)
        else:
            self.started(unique_id, batches)

    def started(self, unique_id: str, more: Mapping[str, Any]) -> None:
        """Records a node's start; `more` are further fields of the event."""
        self.write(
            EventKind.NODE_STARTED,
            node=unique_id,
            name=self._label(unique_id),
            compiled=self._compiled(unique_id),
            **more,
        )

    def result_in_time(self, result: Any) -> None:
        """Records a result, unless dbt is interrupting: then its final result may be another."""
        if not self._interrupted():
            self.result(result)

    def result(self, result: Any) -> None:
        """Records what dbt has made of a node, unless an event has recorded it."""
        if result.node.unique_id not in self._finished:
            self._finish(
                result.node,
                str(result.status),
                result.execution_time,
                self._batches.message_of(result),
                dict(result.adapter_response or {}),
                result.failures,
                **self._batches.filled_by(result),
            )

    def hold_back(self, live: Mapping[str, str], aside: Aside) -> None:
        """From now on results wait for `release`: a node built aside is not built for anybody yet.

        `live` has the relations that the nodes will stand for, by unique id. `aside` hears of these
        nodes.
        """
        self._held, self._live, self._aside = [], live, aside

    def keep_for_the_swap(self, done: Any) -> None:
        """Keeps what `release` and `end` will record, should this process end as it has swapped."""
        after_swap.keep(self._folder, self._held or [], _end_of(done, sessions_left=False))

    def release(self, reason: str) -> None:
        """Records the results that waited; with a reason, what passed counts as not done.

        Where nobody wanted it, what passed has no error either: it was not done.
        """
        held, self._held = self._held or [], None
        unwanted = reason.startswith((INTERRUPTED, UNDECIDED))
        failed = [data["name"] for data in held if data["status"] not in (*PASSED, "skipped")]
        for data in held:
            if reason and "batches" in data:  # nobody reads what they have filled
                del data["batches"]
            if reason and data["status"] in PASSED:
                if data["node"] in self._live and not failed and not unwanted:
                    data |= {"status": "error", "message": reason}
                else:
                    data |= {"status": "skipped", "message": reason, "because": "".join(failed[:1])}
            self.write(EventKind.NODE_FINISHED, **data)

    def results(self, done: Any) -> None:
        """Records what dbt says only at its command's end: hooks, and results without an event."""
        results = getattr(done.result, "results", None) or []
        for result in results:
            self.result(result)
        for text in kept_definitions(self._warehouse, results):
            self.warn(text)

    def end(self, done: Any, sessions_left: bool, reason: str = "") -> None:
        """Records how it all ended; `reason` is why a refresh was not swapped."""
        self.write(EventKind.END, **_end_of(done, sessions_left, reason))

    def _take(self, event: EventMsg) -> None:
        name = event.info.name
        if name == "NoNodesForSelectionCriteria":
            self.unmatched.append(event.data.spec_raw)
        elif name == "NodeStart":
            node = event.data.node_info
            if self._batches.begins(node.unique_id):
                return
            if self._is_planned(node.unique_id):
                self.started(node.unique_id, {})
        elif name == "NodeFinished":
            self._take_end(event)
        elif name == "GenericExceptionOnRun":
            self._batches.raised(event.data.exc)
        elif name == "LogBatchResult":
            self._batches.named(event.data.description, event.data.batch_index)
        elif event.info.level == "warn" and not hasattr(event.data, "node_info"):
            self.warn(event.info.msg)
        elif name == "JinjaLogWarning":  # of a model's own: `exceptions.warn`
            unique_id = str((get_node_info() or {}).get("unique_id", ""))  # of this thread
            text = event.info.msg
            self.warn(f"{self._label(unique_id)}: {text}" if unique_id else text)

    def _take_end(self, event: EventMsg) -> None:
        result = MessageToDict(event.data.run_result, preserving_proto_field_name=True)
        node = node_in(self._manifest, event.data.node_info.unique_id)
        batch = self._batches.ends(node.unique_id, result["status"], result.get("message", ""))
        if batch is not None:
            if batch:
                text = f"{self._label(node.unique_id)}, {batch}"
                self.write(EventKind.LOG, level="error", text=text)
            elif node.unique_id in self._live and result["status"] in PASSED:
                self._aside.filled(node.unique_id, *self._batches.here(node.unique_id))
            return
        if self._interrupted():
            return  # dbt's final result of it may be another
        self._finish(
            node,
            result["status"],
            result.get("execution_time", 0.0),
            result.get("message", ""),
            result.get("adapter_response", {}),
            # Such an event leaves out 0, and has 0 for None.
            result.get("num_failures", 0) if result["status"] in COUNTED else None,
        )

    def _interrupted(self) -> bool:
        """Whether dbt is failing fast. It ends the nodes at work then, whose events say `error`
        (`server closed the connection`) and whose results say `skipped`."""
        return flag("FAIL_FAST") and self._causes.any_failed

    def _finish(
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
        error = error_of(node.unique_id, message) if status not in NO_FAILURE else None
        data = {
            "node": node.unique_id,
            "name": name_of(node),
            "type": str(node.resource_type),
            "status": status,
            "seconds": round(seconds, 3),
            "rows": failures if is_test(node) else rows_of(response),
            "message": self._reason(node, status, message, error),
            "because": self._because(node) if status == "skipped" else "",
            "relation": self._live.get(node.unique_id)
            or getattr(node, "relation_name", None)
            or "",
            "materialized": materialized_as(node),
            "sqlstate": error.sqlstate if error else "",
            "test": generic_test_of(node),
            **more,
        }
        if self._held is None:
            self.write(EventKind.NODE_FINISHED, **data)
        else:
            self._held.append(data)
            if node.unique_id in self._live and status in PASSED:
                self._aside.built(data["node"], data["name"], data["seconds"], data["rows"])
        self._finished.add(node.unique_id)
        self._causes.finished(node.unique_id, status)
        self.on_end(node.unique_id, status)

    def _compiled(self, unique_id: str) -> str:
        """The path of a node's compiled SQL in the run's folder; empty for a seed."""
        node = node_in(self._manifest, unique_id)
        if str(node.resource_type) == "seed" or not hasattr(node, "get_target_write_path"):
            return ""
        return str(node.get_target_write_path("target", "compiled"))

    def _because(self, node: Any) -> str:
        cause = self._causes.of(node.unique_id)
        return self._label(cause) if cause else ""

    def _reason(self, node: Any, status: str, message: str, error: ServerError | None) -> str:
        """dbt's message on a node, with what it quotes first, and what to do about it."""
        if status in PASSED:
            return message
        missing = self._relations.remedy(error) if error and status == "error" else ""
        hook = hook_of(node, error)
        columns = "" if hook else remedy_of(node, status, message, error)
        remedies = (hook, columns, missing)
        return "\n\n".join(filter(None, (words_first(message), *remedies)))

    @cached_property
    def _relations(self) -> Relations:
        nodes = self._manifest.nodes.values()
        built = (node for node in nodes if str(node.resource_type) in WRITTEN)
        return Relations(built, self._manifest.sources.values(), self._warehouse.folding)

    def _label(self, unique_id: str) -> str:
        return label(self._manifest, unique_id)


def message_of(error: BaseException | None) -> str:
    """An error of dbt's, without secrets, with what it quotes first."""
    return words_first(scrub(str(error).strip())) if error else "dbt gave no reason."


def rows_of(response: Mapping[str, Any]) -> int | None:
    """How many rows an adapter says were written; None where it does not know.

    Then it says -1, or nothing; or a text, of a materialized view that stays as it is.
    """
    try:
        rows = int(float(response.get("rows_affected", -1)))
    except (TypeError, ValueError, OverflowError):
        return None
    return rows if rows >= 0 else None


def _end_of(done: Any, sessions_left: bool, reason: str = "") -> dict[str, Any]:
    message = message_of(done.exception) if done.exception else ""
    return {
        "success": bool(done.success) and not reason,
        "message": reason or message,
        "sessions_left": sessions_left,
    }
