"""The runner: takes requests, starts and cancels runs, watches, reports its state."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from mage_dbt.alerts.probe import Probe
from mage_dbt.alerts.watcher import Watcher
from mage_dbt.base.clock import Clock
from mage_dbt.client import report
from mage_dbt.commits.broken import Broken
from mage_dbt.commits.profile import Profile
from mage_dbt.commits.store import Commits
from mage_dbt.errors import Conflict, LedgerUnreachable, PlanChanged, QueueFull, WorkspaceError
from mage_dbt.explain.explainer import Explainer
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.alerts import AlertLedger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.ledger.run_progress import RunProgresses
from mage_dbt.ledger.run_view import RunView, WholeRun
from mage_dbt.mage import project as mage_project
from mage_dbt.mage.tables import MageTables
from mage_dbt.model.alert import AlertOverview, Outcome
from mage_dbt.model.commit import Commit, Model
from mage_dbt.model.deadline import Deadline
from mage_dbt.model.explanation import Explanation
from mage_dbt.model.now import MageState, Now
from mage_dbt.model.plan import Plan
from mage_dbt.model.published import Published
from mage_dbt.model.refresh import Step
from mage_dbt.model.request import Request
from mage_dbt.model.run import (
    RUNNER_STOPPED,
    Run,
    RunState,
    cancelled,
    cancelled_in_mage,
    new_run_id,
)
from mage_dbt.model.status import Status
from mage_dbt.model.story import Chapter
from mage_dbt.model.survey import Survey
from mage_dbt.runner import guides, preview
from mage_dbt.runner.docs import Documentation
from mage_dbt.runner.execution import Execution, decided_to_swap
from mage_dbt.runner.idempotency import IdempotencyKeys, RunKey, require_same
from mage_dbt.runner.left_sessions import Found, end_sessions
from mage_dbt.runner.mage_records import MageRecords
from mage_dbt.runner.mage_watch import MageWatch
from mage_dbt.runner.newer import NewerCommit
from mage_dbt.runner.now import NowMaker
from mage_dbt.runner.published import PublishedCommits
from mage_dbt.runner.queue.queue import Queue
from mage_dbt.runner.reconcile import Reconciler
from mage_dbt.runner.resolved_request import ResolvedRequest
from mage_dbt.runner.resolver import Resolver
from mage_dbt.runner.run_folders import PREVIEW, RunFolders
from mage_dbt.runner.schedule import DailySchedule
from mage_dbt.runner.status import status_of
from mage_dbt.runner.survey import Surveys
from mage_dbt.settings import Settings
from mage_dbt.workers.job import Job
from mage_dbt.workers.pool import Pool
from mage_dbt.workers.worker import Worker

log = logging.getLogger(__name__)

LINK_SECONDS = 0.1
"""Between two polls of git-sync's link, a few µs each."""

POLL_SECONDS = 1.0
"""Between two polls of Mage's cancelled pipeline runs, and of much else."""

RECONCILE_SECONDS = 2.0
"""Between two checks for runs whose runner is dead."""

CANCEL_SECONDS = 10.0
"""For a run of another runner: that one polls every second, and dbt ends within five."""

CANCEL_POLL_SECONDS = 0.2
"""Between two polls of the state of a run that another runner cancels."""

RETENTION_SECONDS = 86_400.0
"""Between two removals of old runs from the ledger."""

MAGE_SECONDS = 5.0
"""Between two looks whether Mage answers."""

TIDY_SECONDS = 10.0
"""Between two removals of old runs' folders."""


class Runner:
    """One runner on one ledger. `start` first; then any method from any thread."""

    def __init__(self, settings: Settings, home: Home, ledger: Ledger) -> None:
        self._settings = settings
        self._home = home
        self._ledger = ledger
        self._pool = Pool(settings, home)
        self._folders = RunFolders(home.runs, ledger.going_on)
        self._commits = Commits(
            settings, home, self._pool, self._folders.commits, self._commit_changed
        )
        self._zone = ZoneInfo(settings.daily_build_timezone)
        self._mage_tables = MageTables(ledger.select)
        self._schedule = DailySchedule(settings, home, ledger, self._mage_tables)
        self._keys = IdempotencyKeys(ledger, self._schedule)
        self._stopped = threading.Event()
        newer = NewerCommit(
            self._commits,
            (settings.dbt_metric_dir or home.sync) / "status.json",
            settings.dbt_metric_poll_seconds,
            self._stopped,
        )
        self._resolver = Resolver(self._commits, newer, ledger, settings)
        self._queue = Queue(ledger.database_url, settings, home, self._taken_over)
        self._reconciler = Reconciler(
            settings,
            home,
            ledger,
            self._commits,
            self._resolver,
            self._queue,
            self._stopped,
            executed_here=self._executes,
            begin=self._begin,
            end_sessions=self._end_sessions,
        )
        self._admitted = 0
        self._previewing = threading.Semaphore(1)  # of its own: a run never waits for a preview
        self._explainer = Explainer(settings, home, ledger, self._commits, self._deadline)
        self._surveys = Surveys(settings, home, self._pool, self._commits, self._folders, ledger)
        self.documentation = Documentation(settings, home, self._pool, self._commits, self._folders)
        self._alerts = Watcher(
            settings,
            home,
            ledger,
            lambda: (self._commits.live, self._commits.broken),
            lambda: self._surveys.latest,
            self._explainer.explain,
        )
        self._alert_ledger = AlertLedger(ledger)
        self._probe = Probe(settings, home)
        self._rerunning = threading.Lock()
        self._executions: dict[str, Execution] = {}
        self._mage_records = MageRecords(settings, home, ledger, self._mage_tables)
        self._mage_watch = MageWatch(settings, home)
        self.progresses = RunProgresses(ledger)
        """How far the runs are that go on; all pages read it here."""
        self._now = NowMaker(
            self._commits,
            ledger,
            self.progresses,
            self._explainer.explain,
            lambda: self._schedule.last_known(datetime.now(UTC)),
            self._schedule.taken,
            settings.daily_build_over_by,
            self._executing,
            lambda: self._mage_watch.state,
        )
        self._published = PublishedCommits(
            self._commits, ledger, settings.dbt_metric_ref, self._zone
        )
        self._forms_of: Commit | None = None
        self._guides_of: object = None
        self._guard = threading.Lock()

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Gives each run of an earlier runner its end or its turn, then begins to watch."""
        self._queue.open()
        shutil.rmtree(self._home.warm, ignore_errors=True)  # of a runner that was killed
        self._pool.begin()
        while True:
            try:
                self._reconciler.reconcile()
                break
            except LedgerUnreachable as error:
                log.warning("the start waits: %s", error)
                time.sleep(POLL_SECONDS)
        for name, function, seconds in (
            ("reconcile", self._reconciler.reconcile, RECONCILE_SECONDS),
            ("retention", self._forget, RETENTION_SECONDS),
            ("run folders", self._folders.tidy, TIDY_SECONDS),
            ("commits", self._commits.poll, LINK_SECONDS),
            ("cancelled in Mage", self._cancel_what_mage_cancelled, POLL_SECONDS),
            ("asked elsewhere", self._do_what_was_asked_elsewhere, POLL_SECONDS),
            ("forms", self._write_forms, POLL_SECONDS),
            ("Mage records", self._mage_records.make_missing, POLL_SECONDS),
            ("Mage", self._mage_watch.look, MAGE_SECONDS),
            ("schedule", self._hold_schedule, POLL_SECONDS),
            ("alerts", self._alerts.poll, POLL_SECONDS),
            ("survey", self._surveys.poll, POLL_SECONDS),
        ):
            threading.Thread(
                target=self._repeat, args=(name, function, seconds), name=name, daemon=True
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
        self._surveys.stop()
        self.documentation.stop()
        self._queue.close()
        self._pool.close()

    def _repeat(self, name: str, function: Callable[[], None], seconds: float) -> None:
        while not self._stopped.is_set():
            try:
                function()
            except LedgerUnreachable as error:
                log.warning("%s: %s", name, error)
            except Exception:  # the thread must outlive any one failure; the log has the traceback
                log.exception("%s", name)
            self._stopped.wait(seconds)

    def _executes(self, run: str) -> bool:
        with self._guard:
            return run in self._executions

    def _end_sessions(self, job: Job) -> Found:
        return end_sessions(job, self._pool.zygotes)

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
        """Accepts a request: returns its run, and whether that run is new.

        The same key gives the same run. Raises a RequestError, NoCommitReady, KeyReused when the
        key's run asked for something else, PlanChanged when the request's plan is no longer what
        would run, NothingLeft for a rerun of what is repaired, QueueFull, or Conflict for a
        schedule that fires when no daily build is due.
        """
        run_key = self._keys.of(request)
        if run_key.run is not None:
            return run_key.run, False
        with self._room(bounded=run_key.build_date is None):
            return self._accept(request, run_key)

    @contextmanager
    def _room(self, bounded: bool) -> Iterator[None]:
        """Room for one more waiting run. Raises QueueFull when `bounded` and there is none."""
        with self._guard:
            waiting = sum(run.waits for run in self._executions.values()) + self._admitted
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

    def _accept(self, request: Request, run_key: RunKey) -> tuple[Run, bool]:
        resolved = self._resolver.resolve(request)
        now = datetime.now(UTC)
        new = NewRun(
            id=new_run_id(now),
            asked_at=now,
            request=request,
            key=run_key.key,
            commit=resolved.commit.sha,
            commit_subject=resolved.commit.subject,
            target=resolved.target,
            dbt_version=resolved.commit.dbt_version,
            follows=resolved.follows,
            morning=run_key.build_date,
            late_seconds=run_key.late_seconds,
        )
        planned: tuple[Worker, Plan] | None = None
        if request.digest:
            try:
                planned = self._as_seen(request.digest, resolved, new.id)
            except WorkspaceError:
                # Sent twice: the other one may have begun meanwhile, and changed what was planned.
                known = self._ledger.run_with_key(run_key.key) if run_key.key else None
                if known is None:
                    raise
                require_same(known, request)
                return known, False
            # Planning takes seconds, and a run that nobody claims soon is taken for abandoned.
            new = replace(new, asked_at=datetime.now(UTC))
        added = False
        try:
            run, added = self._add(new)
        finally:
            if planned and not added:
                self._dispose(planned[0], self._home.runs / new.id)
        if added:
            log.info("run %s: %s for %s (%s)", run, request.operation, request.caller, run_key.key)
            for note in resolved.rerun.notes if resolved.rerun else ():
                log.info("run %s: %s", run, note)
            self._begin(run, resolved, planned)
        elif run_key.key == request.key:
            require_same(self._ledger.run(run), request)
        return self._ledger.run(run), added

    def _add(self, new: NewRun) -> tuple[str, bool]:
        """Adds the run. Raises Conflict when another rerun of the same run goes on."""
        if new.follows is None:
            return self._ledger.add_run(new)
        with self._rerunning:
            if new.key and (known := self._ledger.run_with_key(new.key)):
                return known.id, False
            self._resolver.refuse_while_rerun(self._ledger.story_heads(new.follows))
            return self._ledger.add_run(new)

    def plan(self, request: Request) -> Plan:
        """What a run of this request would do now; the ledger keeps the plan's digest."""
        resolved = self._resolver.resolve(request)
        folder = self._home.runs / f"{PREVIEW}{new_run_id(datetime.now(UTC))}"
        worker, plan = self._planned(resolved, folder, details=True)
        self._dispose(worker, folder)
        plan = preview.with_estimates(plan, self._ledger)
        clock = Clock(self._zone, datetime.now(UTC))
        plan = preview.with_later_runs(plan, self._ledger, clock)
        plan = replace(
            self._with_warnings(resolved, plan),
            differs=preview.differs(resolved.commit, self._commits.live, self._commits.history),
            waits_for=tuple(self._queue.would_wait(plan.writes, plan.reads)),
        )
        self._ledger.remember_plan(plan)
        return plan

    def _as_seen(self, digest: str, resolved: ResolvedRequest, run: str) -> tuple[Worker, Plan]:
        """A worker that has planned the plan with this digest. Raises PlanChanged."""
        worker, plan = self._planned(resolved, self._home.runs / run)
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

    def _planned(
        self, resolved: ResolvedRequest, folder: Path, details: bool = False
    ) -> tuple[Worker, Plan]:
        job = resolved.job(folder, Profile.of(self._settings, self._home), details)
        self._folders.take(job)
        worker: Worker | None = None
        try:
            with self._previewing if details else nullcontext():
                worker = self._pool.worker(job)
                return worker, worker.plan()
        except BaseException:
            if worker is not None:
                self._dispose(worker, folder)
            self._folders.release(folder)
            raise

    def _dispose(self, worker: Worker, folder: Path) -> None:
        worker.stop()
        worker.close()
        self._folders.remove(folder)

    def with_story(self, run: str) -> tuple[WholeRun, list[Chapter]]:
        """The run, and its story: those it repeats and those that repeat it too, oldest first.

        Raises NotFound.
        """
        found = RunView(self._ledger).whole(run)
        story = [(chapter.run, chapter.failed) for chapter in found.story]
        return found, list(report.story(story, self._zone))

    def cancel(self, run: str, by: str) -> Run:
        """Ends a run; returns when its SQL is stopped.

        Raises NotFound, or Conflict when it is over, or has swapped by an earlier decision that
        could not be stopped any more.

        A run that another runner owns is cancelled there, with its next poll.
        """
        found = self._ledger.run(run)
        with self._guard:
            execution = self._executions.get(run)
        if found.state.final:
            raise Conflict(*self._not_cancelled(found))
        if execution is None:
            self._ledger.ask_to_cancel(run, by)
            deadline = time.monotonic() + CANCEL_SECONDS
            while not found.state.final and time.monotonic() < deadline:
                self._stopped.wait(CANCEL_POLL_SECONDS)
                found = self._ledger.run(run)
        else:
            execution.decide_to_cancel(by)
            execution.wait_until_over(10.0)
            found = self._ledger.run(run)
        if found.swapped and found.state is not RunState.CANCELLED:
            raise Conflict(*self._not_cancelled(found))
        return found

    def _not_cancelled(self, run: Run) -> tuple[str, str]:
        """Why a run cannot be cancelled, and what to do."""
        by = self._ledger.swap_decided_by(run.id) if run.swapped else ""
        words = f"Run {run.id} is over: {run.state}." if run.state.final else ""
        if not by:
            words = words or f"Run {run.id} has swapped already."
            return words, "There is nothing to cancel."
        return f"{words} {decided_to_swap(by)}".strip(), "An undo brings the old table back."

    def swap(self, run: str, by: str) -> Run:
        """Lets a refresh that holds for a decision go on to its swap. Raises NotFound, or Conflict
        when it does not hold, or somebody else has decided before.

        A run that another runner executes goes on there, with that runner's next poll.
        """
        found = self._ledger.run(run)
        first = self._ledger.swap_decided_by(run)
        if not found.holds:
            what, hint = _does_not_hold(found)
            raise Conflict(f"{decided_to_swap(first)} {what}" if first else what, hint)
        with self._guard:
            execution = self._executions.get(run)
        try:
            if execution is not None:
                execution.swap(by)
            elif run in (cancelling := self._ledger.asked_to_cancel([run])):
                raise Conflict(f"Run {run} is {cancelled(cancelling[run])}.", "Look at the run.")
            elif first and first != by:
                raise Conflict(decided_to_swap(first), "Look at the run.")
            else:
                self._ledger.ask_to_swap(run, by)
        except Conflict:
            self._ledger.decision(run, by, "swap, too late")
            raise
        return self._ledger.run(run)

    def explain(self, run: str) -> Explanation:
        """Why a run failed, and what follows from it. Raises NotFound."""
        return self._explainer.explain(run)

    def models(self) -> tuple[Model, ...]:
        """Models, seeds and snapshots of the live commit, by name."""
        return self._commits.newest().models

    def _begin(
        self, run: str, resolved: ResolvedRequest, planned: tuple[Worker, Plan] | None = None
    ) -> None:
        job = resolved.job(self._home.runs / run, Profile.of(self._settings, self._home))
        self._folders.take(job)
        execution = Execution(
            run,
            job,
            partial(self._with_warnings, resolved),
            self._ledger,
            self._queue,
            self._over,
            self._pool.worker,
            self._end_sessions,
            planned,
        )
        with self._guard:
            known = run in self._executions
            if not known:
                self._executions[run] = execution
        if not known:
            execution.start()
        elif planned:
            planned[0].stop()
            planned[0].close()

    def _with_warnings(self, resolved: ResolvedRequest, plan: Plan) -> Plan:
        return self._surveys.with_warnings(resolved, resolved.with_warnings(plan))

    def _over(self, run: str) -> None:
        with self._guard:
            self._executions.pop(run, None)
        self._surveys.run_over(run)
        self._folders.release(self._home.runs / run)
        threading.Thread(target=self._explain_ahead, args=(run,), daemon=True).start()

    def _explain_ahead(self, run: str) -> None:
        """Explains a run that is over, so that who looks first does not wait for git."""
        try:
            self._explainer.explain(run)
        except Exception:  # whoever asks gets it again
            log.exception("run %s is not explained", run)

    # -------------------------------------------------------------- watching

    def _commit_changed(self, found: Commit | Broken) -> None:
        if isinstance(found, Broken) and found.by_machine:
            log.error("commit %s is not ready: %s", found.sha[:7], found.error)
            return  # the machine's trouble does not make a commit broken
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
        threading.Thread(target=self._look_ahead, daemon=True).start()

    def _look_ahead(self) -> None:
        """Makes what the first page shows, so that who looks first after a start, or after a new
        commit, does not wait for it."""
        try:
            self._now.now().to_json()  # what makes JSON of it takes as long to make as the page
        except Exception:  # whoever asks gets it again
            log.exception("the first page is not made ahead")

    def _cancel_what_mage_cancelled(self) -> None:
        with self._guard:
            active = list(self._executions)
        in_mage = self._ledger.mage_runs(active) if active else {}
        if not in_mage:
            return
        cancelled = self._mage_tables.cancelled(list(in_mage.values()))
        for run, mage_run in in_mage.items():
            with self._guard:
                execution = self._executions.get(run)
            if execution is not None and mage_run in cancelled:
                execution.cancel(cancelled_in_mage(cancelled[mage_run]))

    def _do_what_was_asked_elsewhere(self) -> None:
        with self._guard:
            active = list(self._executions)
        if not active:
            return
        for asked, do in (
            (self._ledger.asked_to_cancel, Execution.cancel),
            (self._ledger.asked_to_swap, Execution.swap),
        ):
            for run, by in asked(active).items():
                with self._guard:
                    execution = self._executions.get(run)
                if execution is not None:
                    with suppress(Conflict):  # an earlier decision holds
                        do(execution, by)

    def _write_forms(self) -> None:
        """Mage's forms offer the live commit's models, and its guides say how commits stand."""
        live = self._commits.live
        if live is None or not self._home.mage_project.exists():
            return
        if live != self._forms_of:
            mage_project.write_forms(self._home, [_form_model(model) for model in live.models])
            self._forms_of = live
        broken, preparing = self._commits.broken, self._commits.preparing
        stand = (live.sha, broken and broken.sha, preparing, self._commits.published())
        if stand != self._guides_of:
            behind = 0 if preparing else self._commits.behind() or 0
            sentence = guides.of_commits(
                live.sha, live.subject, broken, preparing, behind, self._settings.dbt_metric_ref
            )
            mage_project.write_guides(self._settings, self._home, sentence)
            self._guides_of = stand

    def _deadline(self) -> Deadline:
        daily_build = self._schedule.last_known(datetime.now(UTC)).daily_build
        return Deadline.of(daily_build, self._settings.daily_build_over_by)

    def _hold_schedule(self) -> None:
        self._schedule.hold(datetime.now(UTC))

    @property
    def schedule(self) -> DailySchedule:
        """When the daily build begins, and who has paused it."""
        return self._schedule

    def alerts(self) -> AlertOverview:
        """Who gets alerts, and what became of the last ones."""
        status = self._alerts.status()
        return AlertOverview(status.told, status.problems, tuple(self._alert_ledger.last_sent()))

    def send_test_alert(self) -> list[Outcome]:
        """Sends a test message on every channel, and waits for what becomes of it.

        Raises Conflict when there is no channel, TooManyRequests shortly after another one.
        """
        return self._probe.send()

    @property
    def commits(self) -> Commits:
        """Which commit is live, and which is broken."""
        return self._commits

    @property
    def survey(self) -> Survey | None:
        """What the warehouse holds beside the models; None until it was looked up once."""
        return self._surveys.latest

    def now(self) -> Now:
        """How the daily build stands, and what runs. Raises LedgerUnreachable."""
        return self._now.now()

    @property
    def mage(self) -> MageState | None:
        """Whether Mage answers, or is only starting; None before the first look at it."""
        return self._mage_watch.state

    def published(self) -> Published:
        """The branch's commits, and what became of each. Raises LedgerUnreachable."""
        return self._published.now()

    def _executing(self) -> list[str]:
        with self._guard:
            return list(self._executions)

    def status(self) -> Status:
        """Which commit is live, what is broken, what runs, what comes next."""
        with self._guard:
            active = list(self._executions)
        return status_of(
            self._settings,
            self._home,
            self._commits,
            self._ledger,
            self._schedule,
            active,
            self._alerts.status(),
            self._surveys.latest,
            self._mage_watch.state,
        )


def _does_not_hold(run: Run) -> tuple[str, str]:
    """Why nobody can decide to swap, and what to do."""
    if run.state.final:
        how = ", and it has swapped" if run.swapped else ""
        what = f"Run {run.id} is over: {run.state}{how}."
        if run.state is RunState.CANCELLED:
            what = f"{what} {run.detail}"
        return what, "There is nothing to swap."
    has_held = any(step.step is Step.HOLDS for step in run.refresh)
    if not (run.request.show_first or has_held):
        return f"Run {run.id} does not wait for a decision.", "Only one with `show_first` does."
    done = run.refresh[-1].text if run.refresh else run.detail or "Nothing is built aside yet."
    return (
        f"Run {run.id} does not wait for a decision now ({run.state}). {done}",
        "Look at the run."
        if has_held
        else "It waits once its rows are compared; follow it, and ask again then.",
    )


def _form_model(model: Any) -> mage_project.FormModel:
    return mage_project.FormModel(
        name=model.name,
        description=model.description,
        refreshable=model.materialized in ("incremental", "table", "seed"),
    )
