"""Batches of microbatch models: kept apart from their model, and run again where they failed.

dbt reports each batch's start and end like the model's, within the model's own start and end. So a
node's result is that of its outermost end, and dbt's list of filled batches comes with it.
"""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from dbt.contracts.graph.manifest import Manifest

from mage_dbt.model.reason import words_first
from mage_dbt.model.windows import START_FLAG, Filled, Window, merged
from mage_dbt.workers.job import Job

RAISED = "Exception on worker thread. "
"""dbt's words before the reason of a failed batch. The batch's result has only NO_REASON."""

NO_REASON = "ERROR"


class Batches:
    """The batches of one run. dbt calls from many threads, for each batch from one."""

    def __init__(self, job: Job, manifest: Manifest) -> None:
        self._job = job
        self._manifest = manifest
        self._guard = threading.Lock()
        self._open: Counter[str] = Counter()
        self._batched: set[str] = set()
        self._reasons: dict[str, list[str]] = {}
        self._windows: dict[str, tuple[Window, ...]] = {}
        self._here = threading.local()

    def begins(self, node: str) -> bool:
        """Whether this start is a batch's: the node itself has started before."""
        with self._guard:
            self._open[node] += 1
            inside = self._open[node] > 1
            if inside:
                self._batched.add(node)
        return inside

    def ends(self, node: str, status: str, message: str) -> str | None:
        """The reason of a failed batch, or empty; None when a node without batches ends.

        It is empty too when a model that had batches ends: its result comes later, with what it
        filled.
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

    def named(self, description: str, index: int) -> None:
        """Takes dbt's description of this thread's batch, at its end: `batch 2026-11-28 of …`.

        `index` is the batch's number in its model, from 1 on.
        """
        self._here.name = description.split(" of ", 1)[0]
        self._here.index = index

    def here(self, node: str) -> tuple[Window, int, int]:
        """The window of this thread's batch, its number, and how many batches the model has."""
        windows = self._windows[node]
        index: int = self._here.index
        return windows[index - 1], index, len(windows)

    def raised(self, reason: str) -> None:
        """Takes the reason why the batch that ends in this thread failed."""
        self._here.raised = reason.removeprefix(RAISED)

    def take_over(
        self,
        task: Any,
        on_result: Callable[[Any], None],
        on_start: Callable[[str, dict[str, Any]], None],
        gaps: Mapping[str, Sequence[Window]],
    ) -> None:
        """Prepares dbt's task: it reports results, and runs failed batches again.

        `on_result` gets each result, `on_start` a model's unique id with the windows that it will
        fill. `gaps` are the windows to fill of models that are filled otherwise. The newest batch
        ends where the first run's ended, or else now, after the wait.
        """

        def started(node: str, windows: tuple[Window, ...]) -> None:
            self._windows[node] = windows
            on_start(node, {"batches": Filled(failed=merged(windows)).to_json()})

        handle = task._handle_result

        def both(result: Any) -> None:
            try:
                on_result(result)
            except Exception:  # dbt would wait for ever; the result is recorded at the end
                traceback.print_exc()
            handle(result)

        task._handle_result = both
        with suppress(ImportError):  # a dbt without batches
            _report_starts(started)
        if hasattr(task, "original_invocation_started_at"):
            task.original_invocation_started_at = self._job.begun_at or datetime.now(UTC)
        again = {node: self._cut(node, windows) for node, windows in gaps.items()}
        again = {node: batches for node, batches in again.items() if batches}
        if again:
            from dbt.artifacts.schemas.batch_results import BatchResults

            task.batch_map = {node: BatchResults(failed=batches) for node, batches in again.items()}
            for node in again:
                # Else --full-refresh of the first run would replace all that it has filled.
                self._manifest.nodes[node].config.full_refresh = False

    def _cut(self, node: str, windows: Iterable[Window]) -> list[Any]:
        """The windows as dbt's batches, of the model's present batch size."""
        model = self._manifest.nodes.get(node)
        if model is None or not is_microbatch(model):
            return []
        from dbt.materializations.incremental.microbatch import MicrobatchBuilder

        builder = MicrobatchBuilder(model, True, None, None)
        size = model.config.batch_size
        return [
            batch
            for window in windows
            for batch in builder.build_batches(
                builder.truncate_timestamp(window.start, size),
                builder.ceiling_timestamp(window.end, size),
            )
        ]

    @staticmethod
    def filled_by(result: Any) -> dict[str, Any]:
        """Fields of a result's event: the windows of its batches, if it had batches."""
        batches = getattr(result, "batch_results", None)
        if not batches:
            return {}
        filled, failed = _windows(batches.successful), _windows(batches.failed)
        return {"batches": Filled(filled, failed).to_json()}

    def message_of(self, result: Any) -> str:
        """The reason of the first failed batch, and dbt's message on the result."""
        reasons = self._reasons.get(result.node.unique_id, [])
        message = result.message or ""
        if not reasons:
            return message
        more = f"{len(reasons) - 1} more batches failed." if len(reasons) > 1 else ""
        parts = (reasons[0], more, "" if message == NO_REASON else message)
        return "\n\n".join(filter(None, parts))

    def warnings(self, planned: Iterable[Any]) -> list[str]:
        """A warning on a window when no planned model has batches."""
        if START_FLAG not in self._job.flags or any(is_microbatch(node) for node in planned):
            return []
        return ["The window of event time changes nothing: no microbatch model is planned."]


def _report_starts(on_start: Callable[[str, tuple[Window, ...]], None]) -> None:
    """Reports what each model will fill, in this process. So it is known of a killed one too."""
    from dbt.task.run import MicrobatchModelRunner

    original = MicrobatchModelRunner.get_batches

    def get_batches(runner: Any, model: Any) -> Any:
        batches = original(runner, model)
        on_start(model.unique_id, _each_window(batches.values()))
        return batches

    MicrobatchModelRunner.get_batches = get_batches


def _each_window(batches: Iterable[Any]) -> tuple[Window, ...]:
    return tuple(Window(start.astimezone(UTC), end.astimezone(UTC)) for start, end in batches)


def _windows(batches: Iterable[Any]) -> tuple[Window, ...]:
    return merged(_each_window(batches))


def is_microbatch(node: Any) -> bool:
    return str(getattr(node.config, "incremental_strategy", "")) == "microbatch"
