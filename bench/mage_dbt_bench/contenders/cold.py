"""Our cold worker: what runs when no fork server fits."""

from __future__ import annotations

import json
import time
from pathlib import Path

from mage_dbt.workers.job import EVENTS_FILE
from mage_dbt.workers.worker import ColdWorker, Worker
from mage_dbt_bench.contender import BuildFailed, Built
from mage_dbt_bench.stack import Stack
from mage_dbt_bench.usage import children_cpu

POLL_SECONDS = 0.005


class Cold:
    """Called inside: the worker alone, without the runner's plan, queue and ledger."""

    name = "cold"
    what = "Our cold worker, called inside: a new process imports dbt, reads the parsed commit."
    builds_all = ""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._worker: ColdWorker | None = None

    def prepare(self) -> None:
        """The commit's parse is the runner's, and ready."""

    def build(self, model: str | None) -> Built:
        began = time.time()
        self._worker = worker = ColdWorker(self._stack.job(model))
        return run_worker(worker, self._stack.last_folder, began)

    def cpu(self) -> float:
        return children_cpu()

    def pids(self) -> list[int]:
        return [self._worker.pid] if self._worker and self._worker.alive() else []

    def close(self) -> None:
        """Each build's worker has ended with it."""


def run_worker(worker: Worker, folder: Path, began: float) -> Built:
    """Plans, starts and waits, as the runner does. Raises BuildFailed when not all passed."""
    try:
        worker.plan()
        worker.start()
        while worker.alive():
            time.sleep(POLL_SECONDS)
        over = time.time()
        events = [json.loads(line) for line in (folder / EVENTS_FILE).read_text().splitlines()]
        if not events or events[-1]["kind"] != "end" or not events[-1]["success"]:
            ending = worker.ending()
            raise BuildFailed(f"{folder.name}: {events[-1:]} {ending}")
        return Built(began, over)
    finally:
        worker.close()
