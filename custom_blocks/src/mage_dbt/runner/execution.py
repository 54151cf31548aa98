"""One run from its plan to its final state: wait for its turn, run dbt, record events, judge."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from mage_dbt.errors import Conflict, LedgerUnreachable, WorkspaceError
from mage_dbt.ledger import Ledger
from mage_dbt.model.plan import Plan
from mage_dbt.model.run import ENDED_EARLY, TAKEN_OVER, EventKind, Run, RunState, cancelled
from mage_dbt.runner.left_sessions import POLL_SECONDS as SESSIONS_POLL_SECONDS
from mage_dbt.runner.left_sessions import Found, looks, record_found
from mage_dbt.runner.queue.queue import ORPHAN_SECONDS, Queue
from mage_dbt.runner.record import Record
from mage_dbt.workers.job import EVENTS_FILE, Job
from mage_dbt.workers.worker import Worker

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

POLL_SECONDS = 0.05
"""Between two polls of the worker's events file while it runs."""

LEDGER_RETRY_SECONDS = 1.0
"""Between two tries to reach a PostgreSQL that is away."""


class Execution(threading.Thread):
    """The thread of one run. While PostgreSQL is away it waits, and loses no event of dbt's."""

    def __init__(
        self,
        run: str,
        job: Job,
        with_warnings: Callable[[Plan], Plan],
        ledger: Ledger,
        queue: Queue,
        on_over: Callable[[str], None],
        worker_of: Callable[[Job], Worker],
        end_sessions: Callable[[Job], Found],
        planned: tuple[Worker, Plan] | None = None,
    ) -> None:
        """`with_warnings` completes a plan, `on_over` is called with the run when it is over, and
        `end_sessions` ends a job's sessions in the warehouse. `planned` is a worker that has
        planned already, because the digests of plans were compared."""
        super().__init__(name=f"run {run}", daemon=True)
        self.run_id = run
        self.job = job
        self._with_warnings = with_warnings
        self._ledger = ledger
        self._queue = queue
        self._on_over = on_over
        self._worker_of = worker_of
        self._end_sessions = end_sessions
        self._planned = planned
        self._worker: Worker | None = planned[0] if planned else None
        self._keeps_worker = False
        self._begun = False
        self._cancelled = ""
        self._swap_by = ""
        self._taken_over = False
        self._stopping = threading.Lock()
        self._cut_off = False
        self._found: Found | None = None
        """What a look into the warehouse has found before the results were complete."""
        self._lease_guard = threading.Lock()
        self._lease: int | None = None
        self._ended = threading.Event()

    def cancel(self, by: str) -> None:
        """Ends the run: it leaves the queue, or dbt and its SQL stop. Returns when dbt is gone."""
        with self._stopping:
            self._cancelled = self._cancelled or by
            self._queue.withdraw(self.run_id)
            if self._worker is not None:
                self._worker.stop()

    def decide_to_cancel(self, by: str) -> None:
        """Cancels it as somebody's decision, which is kept also where another came before it."""
        before = self._swap_by or self._cancelled
        self.cancel(by)
        if before and before != by:
            self._ledger.decision(self.run_id, by, "cancel")

    def swap(self, by: str) -> None:
        """Lets a refresh that holds for a decision go on.

        Raises Conflict when somebody else has decided before, whose decision holds, and when
        another runner has taken the run over.
        """
        with self._stopping:
            if self._taken_over:
                raise Conflict(
                    f"Another runner has taken over run {self.run_id}, so this one does not swap "
                    "it.",
                    "Look at the run.",
                )
            if self._cancelled:
                raise Conflict(
                    f"Run {self.run_id} was {cancelled(self._cancelled)} before, so it does not "
                    "swap.",
                    "Refresh again to swap after all.",
                )
            if self._swap_by and self._swap_by != by:
                raise Conflict(decided_to_swap(self._swap_by), "Look at the run.")
            if self._swap_by or self._worker is None or not self._begun:
                return
            self._swap_by = by
            self._worker.swap()
        self._ledger.decision(self.run_id, by, "swap")

    def drop(self) -> None:
        """Another runner has taken the run over: ends the worker and writes no more."""
        self._taken_over = True
        self.cancel(TAKEN_OVER)

    @property
    def waits(self) -> bool:
        """Whether it has not had its turn yet."""
        return not self._begun

    def wait_until_over(self, seconds: float) -> bool:
        return self._ended.wait(seconds)

    def run(self) -> None:
        try:
            state, detail = self._execute()
        except WorkspaceError as error:
            state, detail = RunState.ERROR, str(error)
        except Exception as error:  # a fault of ours must still give the run a final state
            log.exception("run %s", self.run_id)
            state, detail = RunState.ERROR, f"The runner failed: {type(error).__name__}: {error}"
        if (why := self._stopped()) and state is not RunState.SUCCESS:
            state, detail = RunState.CANCELLED, f"{why[0].upper()}{why[1:]}."
        found = self._found
        if found is None:
            cut_off = self._cut_off and not self._taken_over
            found = self._end_sessions(self.job) if cut_off else Found()
        detail = found.completed(state, detail)
        self._record_found(found)
        if self._taken_over:
            log.warning("run %s is another runner's now", self.run_id)
        else:
            self._write(lambda: self._ledger.state(self.run_id, state, detail))
            level = logging.ERROR if state is RunState.ERROR else logging.INFO
            log.log(level, "run %s: %s %s", self.run_id, state, detail)
        if self._worker is not None:
            self._worker.close()
        self._release_warm_worker()
        with self._lease_guard:
            self._close_lease()
        while not found.gone:
            time.sleep(SESSIONS_POLL_SECONDS)
            found = self._end_sessions(self.job)
            self._record_found(found)
        self._queue.done(self.run_id, 0.0 if found.asked else ORPHAN_SECONDS)
        self._on_over(self.run_id)
        self._ended.set()

    def _record_found(self, found: Found) -> None:
        self._write(lambda: record_found(found, self.run_id, self._ledger))

    def _execute(self) -> tuple[RunState, str]:
        self._taken_over = not self._write(lambda: self._queue.claim(self.run_id))
        if self._taken_over:
            return RunState.CANCELLED, ""
        run = self._write(lambda: self._ledger.run(self.run_id))
        planned = self._wait_for_turn(run)
        if planned is None:
            return RunState.CANCELLED, ""
        worker, plan = planned
        self._start(worker)
        record = self._follow(worker)
        self._cut_off = record.cut_off
        if self._cut_off and self.job.refresh and not self._taken_over:
            self._found = self._look_for_the_swap()
            self._write(record.take)
        ending = "" if record.ended else f"{ENDED_EARLY}: {worker.ending()}"
        reason = self._stopped() or ending
        if self._taken_over:
            return RunState.CANCELLED, ""  # the other runner has judged it
        self._write(lambda: record.fill(plan, reason))
        return record.verdict(plan)

    def _look_for_the_swap(self) -> Found:
        """Only the warehouse knows whether a refresh has swapped: then its results are there after
        all. One that does not answer is asked LOOKS times."""
        attempts = looks(lambda: self._end_sessions(self.job))
        found, enough = next(attempts)
        while not (enough or self._taken_over):
            time.sleep(SESSIONS_POLL_SECONDS)
            found, enough = next(attempts)
        return found

    def _wait_for_turn(self, run: Run) -> tuple[Worker, Plan] | None:
        """A worker whose turn it is, and its plan; None when the run was cancelled."""
        worker = self._begin()
        if worker is None:
            return None
        plan = self._record_plan(self._planned[1] if self._planned else worker.plan(), worker)
        while True:
            if not self._wait(run, plan) or self._cancelled:
                return None
            if self._worker is not None:
                return self._worker, plan
            again = self._begin()
            if again is None:
                return None
            now = again.plan()
            fits = now.writes <= plan.writes and now.reads <= plan.reads | plan.writes
            if now.digest != plan.digest:
                plan = self._record_plan(now, again)
            if fits:
                return again, plan

    def _start(self, worker: Worker) -> None:
        with self._lease_guard:
            self._begun = True
            assert self._lease is not None
            worker.keep_lease(self._lease)
        self._release_warm_worker()
        self._write(lambda: self._ledger.state(self.run_id, RunState.STARTING))
        self._cut_off = True  # until dbt reports its end
        worker.start()
        self._write(lambda: self._ledger.state(self.run_id, RunState.RUNNING))

    def _follow(self, worker: Worker) -> Record:
        """Brings the worker's events into the ledger until its end."""
        file = self.job.folder / EVENTS_FILE
        record = Record(self.run_id, file, self._ledger, self._stopped)
        while not self._taken_over:
            alive = worker.alive()  # asked before `take`, so that the last events are not missed
            more = self._write(record.take)
            if not alive and not more:
                return record
            if not more:
                time.sleep(POLL_SECONDS)
        return record

    def _stopped(self) -> str:
        """Who or what has cancelled it, in words; empty while nobody has."""
        if self._taken_over:
            return TAKEN_OVER
        return cancelled(self._cancelled) if self._cancelled else ""

    def _begin(self) -> Worker | None:
        with self._stopping:
            if self._cancelled:
                return None
            self._worker = self._worker or self._worker_of(self.job)
            return self._worker

    def _record_plan(self, plan: Plan, worker: Worker) -> Plan:
        plan = self._with_warnings(plan)
        event = _plan_event(plan) | {"worker": worker.how}
        self._write(lambda: self._ledger.event(self.run_id, _now(), EventKind.PLAN, event))
        return plan

    def _wait(self, run: Run, plan: Plan) -> bool:
        return self._queue.wait(run, plan.writes, plan.reads, self._on_reason, self._on_lease)

    def _on_lease(self, descriptor: int) -> None:
        """Keeps the lease's socket for the worker; the queue may close its own at any time."""
        with self._lease_guard:
            self._close_lease()
            self._lease = os.dup(descriptor)
            if self._begun and self._worker is not None:
                self._worker.keep_lease(self._lease)

    def _close_lease(self) -> None:
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None

    def _on_reason(self, reason: str) -> None:
        self._dismiss()
        self._write(lambda: self._ledger.state(self.run_id, RunState.QUEUED, reason))

    def _dismiss(self) -> None:
        """Ends the worker of a run that waits, unless few enough waiting runs keep theirs.

        A worker costs 150 MB, and 200 runs may wait. A run without its worker plans again when
        its turn has come.
        """
        if self._keeps_worker or self._worker is None:
            return
        self._keeps_worker = self._queue.warm_workers.acquire(blocking=False)
        if self._keeps_worker:
            return
        with self._stopping:
            worker, self._worker = self._worker, None
            worker.stop()
            worker.close()

    def _release_warm_worker(self) -> None:
        if self._keeps_worker:
            self._keeps_worker = False
            self._queue.warm_workers.release()

    def _write(self, what: Callable[[], Answer]) -> Answer:
        while True:
            try:
                return what()
            except LedgerUnreachable as error:
                log.warning("run %s waits: %s", self.run_id, error.message)
                time.sleep(LEDGER_RETRY_SECONDS)


def decided_to_swap(by: str) -> str:
    return f"The decision to swap was made before, by {by}."


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
        "threads": plan.threads,
    }


def _now() -> datetime:
    return datetime.now(UTC)
