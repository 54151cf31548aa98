"""Batches of microbatch models: told apart from their model, and run again where they failed.

dbt begins and ends each batch as if it were the model, inside the model's own beginning and end. So
a node's result is that of its outermost end, and dbt's list of what was filled comes with it.
"""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from dbt.contracts.graph.manifest import Manifest

from mage_dbt.reason import words_first
from mage_dbt.windows import START_FLAG, Filled, Window, merged
from mage_dbt.worker import Job

RAISED = "Exception on worker thread. "
"""What dbt puts before the reason of a batch that failed; its result says only NO_REASON."""

NO_REASON = "ERROR"


class Batches:
    """Those of one run. dbt calls from many threads at once, each batch from one thread."""

    def __init__(self, job: Job, manifest: Manifest) -> None:
        self._job = job
        self._manifest = manifest
        self._guard = threading.Lock()
        self._open: Counter[str] = Counter()
        self._batched: set[str] = set()
        self._reasons: dict[str, list[str]] = {}
        self._here = threading.local()

    def begins(self, node: str) -> bool:
        """Whether what begins is a batch: the node itself has begun already."""
        with self._guard:
            self._open[node] += 1
            inside = self._open[node] > 1
            if inside:
                self._batched.add(node)
        return inside

    def ends(self, node: str, status: str, message: str) -> str | None:
        """A batch's reason when it failed, or empty; None when what ends is a node by itself.

        A model that had batches is not told here either: its result comes with what it filled.
        """
        with self._guard:
            self._open[node] -= 1
            if node not in self._batched:
                return None
            raised, self._here.raised = getattr(self._here, "raised", ""), ""
            if self._open[node] == 0 or status != "error":
                return ""
            name = getattr(self._here, "name", "batch")
            reason = (
                f"{name}: {words_first(raised if message == NO_REASON and raised else message)}"
            )
            self._reasons.setdefault(node, []).append(reason)
            return reason

    def named(self, description: str) -> None:
        """dbt describes the batch that is about to end in this thread: `batch 2026-11-28 of …`."""
        self._here.name = description.split(" of ", 1)[0]

    def raised(self, reason: str) -> None:
        """dbt tells in this thread why the batch that is about to end failed."""
        self._here.raised = reason.removeprefix(RAISED)

    def take_over(
        self,
        task: Any,
        tell: Callable[[Any], None],
        tell_begun: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """Before dbt's task begins: its results are told, and failed batches run again.

        `tell` gets each result, `tell_begun` a model's unique id with the windows that it is about
        to fill. The newest batch ends where the first run's ended, or else now, after the wait.
        """
        handle = task._handle_result

        def both(result: Any) -> None:
            try:
                tell(result)
            except Exception:  # dbt would wait for ever; what is not told now is told at the end
                traceback.print_exc()
            handle(result)

        task._handle_result = both
        with suppress(ImportError):  # a dbt without batches
            _tell_what_begins(tell_begun)
        if hasattr(task, "original_invocation_started_at"):
            task.original_invocation_started_at = self._job.begun_at or datetime.now(UTC)
        again = {node: self._cut(node, windows) for node, windows in self._job.gaps.items()}
        again = {node: batches for node, batches in again.items() if batches}
        if again:
            from dbt.artifacts.schemas.batch_results import BatchResults

            task.batch_map = {node: BatchResults(failed=one) for node, one in again.items()}
            for node in again:
                # Or --full-refresh of the first run would replace all that it has filled.
                self._manifest.nodes[node].config.full_refresh = False

    def _cut(self, node: str, windows: Iterable[Window]) -> list[Any]:
        """The windows as dbt's batches, of the size that the model has now."""
        model = self._manifest.nodes.get(node)
        if model is None or not is_microbatch(model):
            return []
        from dbt.materializations.incremental.microbatch import MicrobatchBuilder

        builder = MicrobatchBuilder(model, True, None, None)
        size = model.config.batch_size
        return [
            batch
            for one in windows
            for batch in builder.build_batches(
                builder.truncate_timestamp(one.start, size),
                builder.ceiling_timestamp(one.end, size),
            )
        ]

    @staticmethod
    def filled_by(result: Any) -> dict[str, Any]:
        """What goes with a result: the windows of its batches, where it had batches."""
        batches = getattr(result, "batch_results", None)
        if not batches:
            return {}
        filled, failed = _windows(batches.successful), _windows(batches.failed)
        return {"batches": Filled(filled, failed).to_json()}

    def message_of(self, result: Any) -> str:
        """The reason of the first batch that failed, and dbt's message on the result."""
        reasons = self._reasons.get(result.node.unique_id, [])
        message = result.message or ""
        if not reasons:
            return message
        more = f"{len(reasons) - 1} more batches failed." if len(reasons) > 1 else ""
        parts = (reasons[0], more, "" if message == NO_REASON else message)
        return "\n\n".join(filter(None, parts))

    def warnings(self, planned: Iterable[Any]) -> list[str]:
        """What is to be said of a window when no planned model has batches."""
        if START_FLAG not in self._job.flags or any(is_microbatch(one) for one in planned):
            return []
        return ["The window of event time changes nothing: no microbatch model is planned."]


def _tell_what_begins(tell: Callable[[str, dict[str, Any]], None]) -> None:
    """From now on, in this process: one that is killed has told what it was about to fill."""
    from dbt.task.run import MicrobatchModelRunner

    original = MicrobatchModelRunner.get_batches

    def get_batches(runner: Any, model: Any) -> Any:
        batches = original(runner, model)
        begun = Filled(failed=_windows(batches.values()))
        tell(model.unique_id, {"batches": begun.to_json()})
        return batches

    MicrobatchModelRunner.get_batches = get_batches


def _windows(batches: Iterable[Any]) -> tuple[Window, ...]:
    return merged(Window(start.astimezone(UTC), end.astimezone(UTC)) for start, end in batches)


def is_microbatch(node: Any) -> bool:
    return str(getattr(node.config, "incremental_strategy", "")) == "microbatch"
