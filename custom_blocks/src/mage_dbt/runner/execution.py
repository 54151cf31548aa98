"""One run from asked to final: plan, wait its turn, run dbt, write down what happens, judge."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from mage_dbt.errors import LedgerUnreachable, WorkspaceError
from mage_dbt.ledger import Ledger
from mage_dbt.plan import Plan
from mage_dbt.run import EventKind, Run, RunState, cancelled
from mage_dbt.runner.left_sessions import AGAIN_SECONDS, Look
from mage_dbt.runner.line import ORPHAN_SECONDS, Line
from mage_dbt.runner.record import Record
from mage_dbt.worker import EVENTS_FILE, Job, Worker

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LOOK_SECONDS = 0.05
"""Between two looks at the worker's events file while it runs."""

LEDGER_RETRY_SECONDS = 1.0


class Execution(threading.Thread):
    """Carries one run. While PostgreSQL is away it waits, and loses nothing of what dbt says."""

    def __init__(
        self,
        run: str,
        job: Job,
        told_with: Callable[[Plan], Plan],
        ledger: Ledger,
        line: Line,
        over: Callable[[str], None],
        worker_of: Callable[[Job], Worker],
        look: Callable[[Job], Look],
        ready: tuple[Worker, Plan] | None = None,
    ) -> None:
        super().__init__(name=f"run {run}", daemon=True)
        self.run_id = run
        self.job = job
        self._told_with = told_with
        self._ledger = ledger
        self._line = line
        self._over = over
        self._worker_of = worker_of
        self._look = look
        self._ready = ready  # a worker that has planned already, because a digest was compared
        self._worker: Worker | None = ready[0] if ready else None
        self._warm = False
        self._begun = False
        self._cancelled = ""
        self._taken_over = False
        self._stopping = threading.Lock()
        self._cut_off = False
        self._holding = threading.Lock()
        self._descriptor: int | None = None
        self._ended = threading.Event()

    def cancel(self, by: str) -> None:
        """Ends the run: out of the line, or dbt and its SQL stopped. Returns when dbt is gone."""
        with self._stopping:
            self._cancelled = self._cancelled or by
            self._line.give_up(self.run_id)
            if self._worker is not None:
                self._worker.stop()

    def drop(self) -> None:
        """Another runner has taken the run over: ends the worker and writes nothing any more."""
        self._taken_over = True
        self.cancel("another runner took it over")

    @property
    def waits(self) -> bool:
        """Whether it has not had its turn yet."""
        return not self._begun

    def wait_until_over(self, seconds: float) -> bool:
        return self._ended.wait(seconds)

    def run(self) -> None:
        try:
            state, detail = self._carry()
        except WorkspaceError as error:
            state, detail = RunState.ERROR, str(error)
        except Exception as error:  # a mistake of ours must still give the run a final state
            log.exception("run %s", self.run_id)
            state, detail = RunState.ERROR, f"The runner failed: {type(error).__name__}: {error}"
        if self._cancelled and state is not RunState.SUCCESS:
            why = cancelled(self._cancelled)
            state, detail = RunState.CANCELLED, f"{why[0].upper()}{why[1:]}."
        found = self._look(self.job) if self._cut_off and not self._taken_over else Look()
        if not found.gone:
            detail = f"{detail} {found}".strip()
        if self._taken_over:
            log.warning("run %s is another runner's now", self.run_id)
        else:
            self._write(lambda: self._ledger.state(self.run_id, state, detail))
            level = logging.ERROR if state is RunState.ERROR else logging.INFO
            log.log(level, "run %s: %s %s", self.run_id, state, detail)
        if self._worker is not None:
            self._worker.close()
        self._leave_warm_place()
        with self._holding:
            self._let_go()
        while not found.gone:
            time.sleep(AGAIN_SECONDS)
            found = self._look(self.job)
        self._line.leave(self.run_id, 0.0 if found.looked else ORPHAN_SECONDS)
        self._over(self.run_id)
        self._ended.set()

    def _carry(self) -> tuple[RunState, str]:
        self._taken_over = not self._write(lambda: self._line.carry(self.run_id))
        if self._taken_over:
            return RunState.CANCELLED, ""
        run = self._write(lambda: self._ledger.run(self.run_id))
        worker = self._begin()
        if worker is None:
            return RunState.CANCELLED, ""
        plan = self._tell_plan(self._ready[1] if self._ready else worker.plan(), worker)
        while True:
            if not self._wait(run, plan) or self._cancelled:
                return RunState.CANCELLED, ""
            if self._worker is not None:
                worker = self._worker
                break
            again = self._begin()
            if again is None:
                return RunState.CANCELLED, ""
            now = again.plan()
            fits = now.writes <= plan.writes and now.reads <= plan.reads | plan.writes
            if now.digest != plan.digest:
                plan = self._tell_plan(now, again)
            if fits:
                worker = again
                break
        with self._holding:
            self._begun = True
            assert self._descriptor is not None
            worker.hold(self._descriptor)
        self._leave_warm_place()
        self._write(lambda: self._ledger.state(self.run_id, RunState.STARTING))
        self._cut_off = True  # until dbt says how it ended
        worker.start()
        self._write(lambda: self._ledger.state(self.run_id, RunState.RUNNING))
        record = Record(self.run_id, self.job.folder / EVENTS_FILE, self._ledger)
        while True:
            alive = worker.alive()  # asked before the look, so that nothing written last is missed
            more = self._write(record.take)
            if not alive and not more:
                break
            if not more:
                time.sleep(LOOK_SECONDS)
        self._cut_off = record.cut_off
        ending = "" if record.ended else f"dbt's process ended early: {worker.ending()}"
        reason = cancelled(self._cancelled) if self._cancelled else ending
        self._write(lambda: record.fill(plan, reason))
        return record.verdict(plan)

    def _begin(self) -> Worker | None:
        with self._stopping:
            if self._cancelled:
                return None
            self._worker = self._worker or self._worker_of(self.job)
            return self._worker

    def _tell_plan(self, plan: Plan, worker: Worker) -> Plan:
        plan = self._told_with(plan)
        told = _plan_event(plan) | {"worker": worker.how}
        self._write(lambda: self._ledger.event(self.run_id, _now(), EventKind.PLAN, told))
        return plan

    def _wait(self, run: Run, plan: Plan) -> bool:
        return self._line.wait(run, plan.writes, plan.reads, self._waiting, self._hold)

    def _hold(self, descriptor: int) -> None:
        """Keeps the session's socket for the worker; the line closes its own when it likes."""
        with self._holding:
            self._let_go()
            self._descriptor = os.dup(descriptor)
            if self._begun and self._worker is not None:
                self._worker.hold(self._descriptor)

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _waiting(self, reason: str) -> None:
        self._dismiss()
        self._write(lambda: self._ledger.state(self.run_id, RunState.QUEUED, reason))

    def _dismiss(self) -> None:
        """Ends the planned worker of a run that waits, unless one of the warm places is free.

        A worker that waits costs 150 MB, and 200 runs may wait; without one the run plans again
        when its turn has come.
        """
        if self._warm or self._worker is None:
            return
        self._warm = self._line.warm_places.acquire(blocking=False)
        if self._warm:
            return
        with self._stopping:
            worker, self._worker = self._worker, None
            worker.stop()
            worker.close()

    def _leave_warm_place(self) -> None:
        if self._warm:
            self._warm = False
            self._line.warm_places.release()

    def _write(self, what: Callable[[], Answer]) -> Answer:
        while True:
            try:
                return what()
            except LedgerUnreachable as error:
                log.warning("run %s waits: %s", self.run_id, error.message)
                time.sleep(LEDGER_RETRY_SECONDS)


def _plan_event(plan: Plan) -> dict[str, Any]:
    return {
        "names": [node.name for node in plan.nodes],
        "digest": plan.digest,
        "warnings": list(plan.warnings),
        "notes": list(plan.notes),
        "parse_warnings": plan.parse_warnings.to_json(),
        "nodes": [node.to_json() for node in plan.nodes],
        "counted": plan.counted,
        "hooks": plan.hooks,
    }


def _now() -> datetime:
    return datetime.now(UTC)
