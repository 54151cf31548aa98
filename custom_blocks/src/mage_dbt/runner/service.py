"""What the runner does: takes requests, cancels, reconciles, watches, tells its state."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from mage_dbt import report
from mage_dbt.alerts.watcher import Watcher
from mage_dbt.command import Command
from mage_dbt.commit import Commit
from mage_dbt.commits import Broken, Commits
from mage_dbt.errors import (
    Conflict,
    LedgerUnreachable,
    PlanChanged,
    QueueFull,
    RequestError,
)
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.mage import project as mage_project
from mage_dbt.morning import Morning
from mage_dbt.plan import Plan
from mage_dbt.profile import Profile
from mage_dbt.request import Request
from mage_dbt.run import RUNNER_STOPPED, Run, RunState, cancelled_in_mage, new_run_id
from mage_dbt.runner import preview, reconcile, status
from mage_dbt.runner.claims import Claim, Claims
from mage_dbt.runner.execution import Execution
from mage_dbt.runner.keys import require_same
from mage_dbt.runner.left_sessions import AGAIN_SECONDS, Look, look
from mage_dbt.runner.line import ORPHAN_SECONDS, Line
from mage_dbt.runner.mage_records import MageRecords
from mage_dbt.runner.newer import NewerCommit
from mage_dbt.runner.order import Order
from mage_dbt.runner.resolver import Resolver
from mage_dbt.runner.run_folders import PREVIEW, RunFolders
from mage_dbt.settings import Settings
from mage_dbt.worker import Job, Worker
from mage_dbt.worker.warm import Warm

log = logging.getLogger(__name__)

LINK_SECONDS = 0.1
"""Between two looks at git-sync's link, a few µs each."""

LOOK_SECONDS = 1.0
"""Between two looks at Mage's cancelled pipeline runs, and at much else."""

SCHEDULE_SECONDS = 60.0
"""Between two looks at whether the daily trigger's UTC time is still the right one."""

RECONCILE_SECONDS = 2.0
"""Between two looks for runs whose runner is dead."""

CANCEL_SECONDS = 10.0
"""For a run that another runner carries: it looks every second, and dbt ends within five."""

RETENTION_SECONDS = 86_400.0

TIDY_SECONDS = 10.0


class Runner:
    """One runner on one ledger. `start` first; then any method from any thread."""

    def __init__(self, settings: Settings, home: Home, ledger: Ledger) -> None:
        self._settings = settings
        self._home = home
        self._ledger = ledger
        self._warm = Warm(settings, home)
        self._folders = RunFolders(home.runs, ledger.going_on)
        self._commits = Commits(
            settings, home, self._warm, self._folders.commits, self._commit_changed
        )
        self._morning = Morning(settings.daily_build_at, ZoneInfo(settings.daily_build_timezone))
        self._claims = Claims(ledger, self._morning)
        self._stopped = threading.Event()
        newer = NewerCommit(
            self._commits,
            (settings.dbt_metric_dir or home.sync) / "status.json",
            settings.dbt_metric_poll_seconds,
            self._stopped,
        )
        self._resolver = Resolver(
            self._commits, newer, ledger, settings.dbt_metric_subdir, self._morning.zone
        )
        self._line = Line(ledger.database_url, settings, home, self._taken_over)
        self._admitted = 0
        self._abandoned: list[str] = []
        self._previewing = threading.Semaphore(1)  # of its own: a run never waits for a preview
        self._alerts = Watcher(
            settings, home, ledger, lambda: (self._commits.live, self._commits.broken)
        )
        self._rerunning = threading.Lock()
        self._executions: dict[str, Execution] = {}
        self._mage_records = MageRecords(settings, home, ledger)
        self._forms_of: Commit | None = None
        self._guard = threading.Lock()

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Gives every run of an earlier runner its end or its turn, then begins to watch."""
        self._line.open()
        shutil.rmtree(self._home.warm, ignore_errors=True)  # of a runner that was killed
        self._warm.begin()
        while True:
            try:
                self._reconcile()
                break
            except LedgerUnreachable as error:
                log.warning("the start waits: %s", error)
                time.sleep(LOOK_SECONDS)
        for name, what, seconds in (
            ("reconcile", self._reconcile, RECONCILE_SECONDS),
            ("retention", self._forget, RETENTION_SECONDS),
            ("run folders", self._folders.tidy, TIDY_SECONDS),
            ("commits", self._commits.poll, LINK_SECONDS),
            ("cancelled in Mage", self._cancel_what_mage_cancelled, LOOK_SECONDS),
            ("cancelled elsewhere", self._cancel_what_was_asked_elsewhere, LOOK_SECONDS),
            ("forms", self._write_forms, LOOK_SECONDS),
            ("Mage records", self._mage_records.look, LOOK_SECONDS),
            ("schedule", self._write_schedule, SCHEDULE_SECONDS),
            ("alerts", self._alerts.look, LOOK_SECONDS),
        ):
            threading.Thread(
                target=self._repeat, args=(name, what, seconds), name=name, daemon=True
            ).start()

    def stop(self) -> None:
        """Ends every worker; their runs are reconciled by the next runner."""
        self._stopped.set()
        with self._guard:
            executions = list(self._executions.values())
        for execution in executions:
            execution.cancel(RUNNER_STOPPED)
        for execution in executions:
            execution.wait_until_over(2.0)
        self._line.close()
        self._warm.close()

    def _repeat(self, name: str, what: Any, seconds: float) -> None:
        while not self._stopped.is_set():
            try:
                what()
            except LedgerUnreachable as error:
                log.warning("%s: %s", name, error)
            except Exception:  # a watcher must outlive any one failure; the log has the whole of it
                log.exception("%s", name)
            self._stopped.wait(seconds)

    def _reconcile(self) -> None:
        """Runs of a dead runner, of this home or another, take their turn or get their end."""
        self._abandoned += self._line.abandoned()
        while self._abandoned:  # PostgreSQL may go away in between: then the rest waits for it
            run = self._ledger.run(self._abandoned[0])
            try:
                self._reconcile_one(run)
            except LedgerUnreachable:
                raise
            except Exception as error:  # one that cannot be taken up must not hold up the others
                log.exception("run %s", run.id)
                detail = f"The runner could not take it up again: {error}"
                self._ledger.state(run.id, RunState.ERROR, detail)
                self._leave_when_gone(run)
            del self._abandoned[0]

    def _reconcile_one(self, run: Run) -> None:
        with self._guard:
            if run.id in self._executions:
                return
        folder = self._home.runs / run.id
        reconcile.end_left_worker(folder)
        if run.state is RunState.QUEUED:
            commit = self._commits.find(run.commit)
            if commit is not None:
                log.info("run %s was asked for and not begun: it takes its turn now", run.id)
                try:
                    order = self._resolver.order(Request.parse(run.request), commit, run)
                except (RequestError, Conflict) as error:
                    self._ledger.state(run.id, RunState.ERROR, str(error))
                    self._line.leave(run.id)
                else:
                    self._begin(run.id, order)
                return
        if not run.state.final:
            reconcile.end_abandoned(run, folder, self._ledger)
        self._leave_when_gone(run)

    def _leave_when_gone(self, run: Run) -> None:
        """Its place in the line is left once no session of it is in the warehouse."""

        def leave() -> None:
            found: Look | None = None
            while found is None or not found.gone:
                try:
                    found = self._look(self._job_of(run))
                except Exception as error:  # no commit is ready yet, the profile cannot be read
                    log.warning("run %s: its sessions cannot be looked for: %s", run.id, error)
                if (found is None or not found.gone) and self._stopped.wait(AGAIN_SECONDS):
                    return
            self._line.leave(run.id, 0.0 if found.looked else ORPHAN_SECONDS)

        threading.Thread(target=leave, name=f"leave {run.id}", daemon=True).start()

    def _look(self, job: Job) -> Look:
        return look(job, self._warm.fork_servers)

    def _job_of(self, run: Run) -> Job:
        """The job of a run of an earlier runner; when its files are not here, one that reaches the
        same warehouse."""
        folder = self._home.runs / run.id
        with suppress(OSError, ValueError, KeyError):
            job = Job.read(folder)
            if job.project.exists():
                return job
        order = Order(
            commit=self._commits.find(run.commit) or self._commits.newest(),
            command=Command("build"),
            variables={},
            target=run.target,
            caller=run.caller,
            notices=(),
        )
        job = order.job(folder, Profile.of(self._settings, self._home))
        job.write()
        return job

    def _taken_over(self, run: str) -> None:
        with self._guard:
            execution = self._executions.get(run)
        if execution is not None:
            threading.Thread(target=execution.drop, daemon=True).start()

    def _forget(self) -> None:
        if days := self._settings.ledger_keep_days:
            forgotten = self._ledger.forget(datetime.now(UTC) - timedelta(days=days))
            log.info("ledger: %s runs older than %s days are forgotten", forgotten, days)

    # -------------------------------------------------------------- requests

    def submit(self, request: Request) -> tuple[Run, bool]:
        """Accepts a request: gives its run, and whether that is a new one.

        The same key gives the same run. Raises a RequestError, NoCommitReady, KeyReused when the
        key's run asked for something else, PlanChanged when the request names a plan that is no
        longer the one, NothingLeft for a rerun of what is repaired, QueueFull, or Conflict for a
        schedule that fires when no morning build is due.
        """
        claim = self._claims.of(request)
        if claim.run is not None:
            return claim.run, False
        with self._room(bounded=claim.morning is None):
            return self._accept(request, claim)

    @contextmanager
    def _room(self, bounded: bool) -> Iterator[None]:
        """Room for one more waiting run. Raises QueueFull when `bounded` and there is none."""
        with self._guard:
            waiting = sum(one.waits for one in self._executions.values()) + self._admitted
            if bounded and waiting >= self._settings.runner_queued_runs:
                raise QueueFull(
                    f"{waiting} runs wait already; no more than RUNNER_QUEUED_RUNS may.",
                    "Ask again when some of them are over.",
                )
            self._admitted += 1
        try:
            yield
        finally:
            with self._guard:
                self._admitted -= 1

    def _accept(self, request: Request, claim: Claim) -> tuple[Run, bool]:
        order = self._resolver.order(request)
        now = datetime.now(UTC)
        new = NewRun(
            id=new_run_id(now),
            asked_at=now,
            request=request,
            key=claim.key,
            commit=order.commit.sha,
            commit_subject=order.commit.subject,
            target=order.target,
            dbt_version=order.commit.dbt_version,
            follows=order.follows,
            morning=claim.morning,
            late_seconds=claim.late_seconds,
        )
        ready = self._as_seen(request.digest, order, new.id) if request.digest else None
        added = False
        try:
            run, added = self._add(new)
        finally:
            if ready and not added:
                self._dispose(ready[0], self._home.runs / new.id)
        if added:
            log.info("run %s: %s for %s (%s)", run, request.operation, request.caller, claim.key)
            for note in order.rerun.notes if order.rerun else ():
                log.info("run %s: %s", run, note)
            self._begin(run, order, ready)
        elif claim.key == request.key:
            require_same(self._ledger.run(run), request)
        return self._ledger.run(run), added

    def _add(self, new: NewRun) -> tuple[str, bool]:
        """Adds the run; of one story never two that go on at once. Raises Conflict for a second."""
        if new.follows is None:
            return self._ledger.add_run(new)
        with self._rerunning:
            if new.key and (known := self._ledger.run_with_key(new.key)):
                return known.id, False
            self._resolver.refuse_while_rerun(self._ledger.story(new.follows))
            return self._ledger.add_run(new)

    def plan(self, request: Request) -> Plan:
        """What a run of this request would do now. Only the plan's digest is kept."""
        order = self._resolver.order(request)
        folder = self._home.runs / f"{PREVIEW}{new_run_id(datetime.now(UTC))}"
        worker, plan = self._planned(order, folder, details=True)
        self._dispose(worker, folder)
        plan = preview.with_estimates(plan, self._ledger)
        plan = replace(
            order.told_with(plan),
            differs=preview.differs(order.commit, self._commits.live, self._commits.history),
            waits_for=tuple(self._line.would_wait(plan.writes, plan.reads)),
        )
        self._ledger.remember_plan(plan)
        return plan

    def _as_seen(self, digest: str, order: Order, run: str) -> tuple[Worker, Plan]:
        """A worker that has planned what the digest stands for; PlanChanged when it is another."""
        worker, plan = self._planned(order, self._home.runs / run)
        if plan.digest == digest:
            return worker, plan
        self._dispose(worker, self._home.runs / run)
        seen = self._ledger.seen_plan(digest)
        raise PlanChanged(
            "No plan with this digest is known."
            if seen is None
            else f"The plan is no longer the one that was seen: {preview.difference(seen, plan)}.",
            f"Look at the plan again and name its digest, which is now {plan.digest}.",
        )

    def _planned(self, order: Order, folder: Path, details: bool = False) -> tuple[Worker, Plan]:
        job = order.job(folder, Profile.of(self._settings, self._home), details)
        self._folders.take(job)
        worker: Worker | None = None
        try:
            with self._previewing if details else nullcontext():
                worker = self._warm.worker(job)
                return worker, worker.plan()
        except BaseException:
            if worker is not None:
                self._dispose(worker, folder)
            self._folders.leave(folder)
            raise

    def _dispose(self, worker: Worker, folder: Path) -> None:
        worker.stop()
        worker.close()
        self._folders.remove(folder)

    def story(self, run: str) -> list[dict[str, Any]]:
        """The run, what it runs again and what ran it again, oldest first; `text` says it."""
        zone = self._morning.zone
        return list(report.story(self._ledger.story(run), zone))

    def cancel(self, run: str, by: str) -> Run:
        """Ends a run; returns when its SQL is stopped. Raises NotFound, or Conflict when over.

        A run that another runner carries is cancelled there, within a second of its next look.
        """
        found = self._ledger.run(run)
        with self._guard:
            execution = self._executions.get(run)
        if found.state.final:
            raise Conflict(f"Run {run} is over: {found.state}.", "There is nothing to cancel.")
        if execution is None:
            self._ledger.ask_to_cancel(run, by)
            deadline = time.monotonic() + CANCEL_SECONDS
            while not found.state.final and time.monotonic() < deadline:
                self._stopped.wait(0.2)
                found = self._ledger.run(run)
            return found
        execution.cancel(by)
        execution.wait_until_over(10.0)
        return self._ledger.run(run)

    def models(self) -> Sequence[Mapping[str, Any]]:
        """Models, seeds and snapshots of the live commit, by name."""
        return [vars(one) for one in self._commits.newest().models]

    def _begin(self, run: str, order: Order, ready: tuple[Worker, Plan] | None = None) -> None:
        job = order.job(self._home.runs / run, Profile.of(self._settings, self._home))
        self._folders.take(job)
        execution = Execution(
            run,
            job,
            order.told_with,
            self._ledger,
            self._line,
            self._over,
            self._warm.worker,
            self._look,
            ready,
        )
        with self._guard:
            if run in self._executions:
                return
            self._executions[run] = execution
        execution.start()

    def _over(self, run: str) -> None:
        with self._guard:
            self._executions.pop(run, None)
        self._folders.leave(self._home.runs / run)

    # -------------------------------------------------------------- watching

    def _commit_changed(self, found: Commit | Broken) -> None:
        if isinstance(found, Broken) and found.by_machine:
            log.error("commit %s is not ready: %s", found.sha[:7], found.error)
            return  # nobody's commit is called broken for it
        if isinstance(found, Broken):
            log.error("commit %s is broken: %s", found.sha[:7], found.error)
            self._ledger.commit(
                found.sha, found.subject, found.author, "broken", str(found.error), ""
            )
            return
        log.info("commit %s is ready: %s", found.sha[:7], found.subject)
        self._ledger.commit(
            found.sha,
            found.subject,
            found.author,
            "ready",
            " ".join(found.notes),
            found.dbt_version,
        )

    def _cancel_what_mage_cancelled(self) -> None:
        with self._guard:
            active = list(self._executions)
        in_mage = self._ledger.mage_runs(active) if active else {}
        if not in_mage:
            return
        cancelled = self._ledger.mage_cancelled(list(in_mage.values()))
        for run, mage_run in in_mage.items():
            with self._guard:
                execution = self._executions.get(run)
            if execution is not None and mage_run in cancelled:
                execution.cancel(cancelled_in_mage(cancelled[mage_run]))

    def _cancel_what_was_asked_elsewhere(self) -> None:
        with self._guard:
            active = list(self._executions)
        for run, by in (self._ledger.asked_to_cancel(active) if active else {}).items():
            with self._guard:
                execution = self._executions.get(run)
            if execution is not None:
                execution.cancel(by)

    def _write_forms(self) -> None:
        """The forms in Mage list the live commit's models, once both are there."""
        live = self._commits.live
        if live is None or live == self._forms_of or not self._home.mage_project.exists():
            return
        mage_project.write_forms(self._home, [_form_model(one) for one in live.models])
        self._forms_of = live

    def _write_schedule(self) -> None:
        mage_project.write_schedule(self._settings, self._home, datetime.now(UTC))

    @property
    def commits(self) -> Commits:
        """Which commit is live, and which is broken."""
        return self._commits

    def status(self) -> dict[str, Any]:
        """What a person asks first: which commit is live, what is broken, what comes next."""
        with self._guard:
            active = list(self._executions)
        told = status.tell(self._settings, self._home, self._commits, self._ledger, active)
        return told | {"alerts": self._alerts.status()}


def _form_model(model: Any) -> mage_project.FormModel:
    return mage_project.FormModel(
        name=model.name,
        description=model.description,
        refreshable=model.materialized in ("incremental", "seed", "materialized_view"),
    )
