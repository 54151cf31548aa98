"""The warm worker: forked from a fork server that has parsed the same things already."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for_first
from dataclasses import replace
from typing import Any, TypeVar

from mage_dbt.commits.graph_key import GraphKey, dbt_environment
from mage_dbt.errors import WorkspaceError
from mage_dbt.model.plan import Plan
from mage_dbt.workers.child_process import Started
from mage_dbt.workers.fork_server import ForkServer
from mage_dbt.workers.forker import ForkerGone
from mage_dbt.workers.job import Job
from mage_dbt.workers.slots import Slots
from mage_dbt.workers.worker import LOG_FILE, ColdWorker, ProcessWorker

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1

Answer = TypeVar("Answer")


class WarmWorker:
    """See `Worker`. It is forked when it plans; where that is not possible it is cold."""

    def __init__(self, job: Job, slots: Slots) -> None:
        job.write()
        self._job = job
        self._slots = slots
        self._stopping = threading.Lock()
        self._stopped: Future[None] = Future()
        self._inner: ProcessWorker | None = None
        self.how = "warm"

    @property
    def pid(self) -> int:
        return self._process.pid

    def plan(self) -> Plan:
        plan = self._ask(ProcessWorker.plan)
        if self.how == "warm":
            return plan
        reason = self.how.removeprefix("cold: ")
        warning = f"dbt was started anew for this run, which takes longer: {reason}."
        return replace(plan, warnings=(*plan.warnings, warning))

    def describe(self) -> dict[str, Any]:
        """See `ProcessWorker.describe`."""
        return self._ask(ProcessWorker.describe)

    def _ask(self, question: Callable[[ProcessWorker], Answer]) -> Answer:
        try:
            return self._ask_warm(question)
        except ForkerGone as error:
            self.how = f"cold: {error}"
        except WorkspaceError as error:
            if self._inner is None or not self._inner.killed:
                raise
            _refuse_if(self._stopped)
            # Somebody killed it, and nothing of the job has begun: once more.
            self._inner.close()
            self.how = f"cold: {error.message.removesuffix('.')}"
        log.warning("run %s is %s", self._job.run, self.how)
        with _Permit(self._slots.parsing, self._stopped):
            return question(self._begin(lambda: ColdWorker(self._job)))

    def _ask_warm(self, question: Callable[[ProcessWorker], Answer]) -> Answer:
        job = self._job
        if job.fresh:
            raise ForkerGone("its configuration reads the clock as dbt parses")
        environment = dbt_environment(os.environ)
        key = GraphKey.of(job.project, job.dbt_arguments, job.variables, environment)
        slot = self._slots.take(key, job.parsed)
        try:
            either: list[Future[Any]] = [slot.server, self._stopped]
            wait_for_first(either, return_when=FIRST_COMPLETED)
            _refuse_if(self._stopped)
            server = slot.server.result()
            with _Permit(self._slots.planning, self._stopped):
                answer = question(self._begin(lambda: _forked(job, server)))
            server.link_manifest(job.folder / "target")
            return answer
        finally:
            self._slots.give_back(slot)

    def keep_lease(self, descriptor: int) -> None:
        self._process.keep_lease(descriptor)

    def start(self) -> None:
        self._process.start()

    def swap(self) -> None:
        self._process.swap()

    def alive(self) -> bool:
        return self._inner is not None and self._inner.alive()

    def stop(self) -> None:
        with self._stopping:
            if not self._stopped.done():
                self._stopped.set_result(None)
            inner = self._inner
        if inner is not None:
            inner.stop()

    def ending(self) -> str:
        return self._process.ending()

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()
        self._slots.sweep()

    @property
    def _process(self) -> ProcessWorker:
        assert self._inner is not None, "it has not planned"
        return self._inner

    def _begin(self, begin: Callable[[], ProcessWorker]) -> ProcessWorker:
        with self._stopping:
            _refuse_if(self._stopped)
            self._inner = begin()
            return self._inner


def _forked(job: Job, server: ForkServer) -> ProcessWorker:
    with (job.folder / LOG_FILE).open("ab") as log:
        return ProcessWorker(job, Started.by(lambda given: server.fork(job.folder, given), log))


class _Permit:
    """A turn of a semaphore; raises WorkspaceError when the worker is stopped first."""

    def __init__(self, semaphore: threading.Semaphore, stopped: Future[None]) -> None:
        self._semaphore = semaphore
        self._stopped = stopped

    def __enter__(self) -> None:
        while not self._semaphore.acquire(timeout=POLL_SECONDS):
            _refuse_if(self._stopped)

    def __exit__(self, *_: object) -> None:
        self._semaphore.release()


def _refuse_if(stopped: Future[None]) -> None:
    if stopped.done():
        raise WorkspaceError("The worker was stopped before it had planned.")
