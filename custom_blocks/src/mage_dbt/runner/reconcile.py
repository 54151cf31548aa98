"""Runs of a dead runner, of this home or another, get their end or their turn."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil

from mage_dbt.base.processes import wait_until_ended
from mage_dbt.commits.profile import Profile
from mage_dbt.commits.store import Commits
from mage_dbt.errors import Conflict, LedgerUnreachable, RequestError
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.model.command import Command
from mage_dbt.model.refresh import RefreshOptions, RefreshStep, Step
from mage_dbt.model.run import RUNNER_STOPPED, TAKEN_OVER, EventKind, Run, RunState, cancelled
from mage_dbt.runner.left_sessions import POLL_SECONDS, Found, looks, record_found
from mage_dbt.runner.queue.queue import ORPHAN_SECONDS, Queue
from mage_dbt.runner.record import Record
from mage_dbt.runner.resolved_request import ResolvedRequest, refresh_options
from mage_dbt.runner.resolver import Resolver
from mage_dbt.settings import Settings
from mage_dbt.workers.child_process import MODULE
from mage_dbt.workers.job import EVENTS_FILE, Job

log = logging.getLogger(__name__)

TOO_LATE = (
    f"{RUNNER_STOPPED[0].upper()}{RUNNER_STOPPED[1:]}, so a decision comes too late. "
    "The warehouse is asked what has become of the refresh."
)

NOTHING_FOUND = Found()

END_SECONDS = 10.0
"""How long a killed process may take to leave a system call."""


class Reconciler:
    """Takes over what dead runners left; `reconcile` is for one thread at a time."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        ledger: Ledger,
        commits: Commits,
        resolver: Resolver,
        queue: Queue,
        stopped: threading.Event,
        *,
        executed_here: Callable[[str], bool],
        begin: Callable[[str, ResolvedRequest], None],
        end_sessions: Callable[[Job], Found],
    ) -> None:
        """`executed_here` says whether this process executes the run, `begin` executes it, and
        `end_sessions` ends a job's sessions in the warehouse."""
        self._settings = settings
        self._home = home
        self._ledger = ledger
        self._commits = commits
        self._resolver = resolver
        self._queue = queue
        self._stopped = stopped
        self._executed_here = executed_here
        self._begin = begin
        self._end_sessions = end_sessions
        self._abandoned: list[str] = []

    def reconcile(self) -> None:
        """Gives each run of a dead runner its turn or its end. Raises LedgerUnreachable; the next
        call goes on where this one stopped."""
        self._abandoned += self._queue.take_over()
        while self._abandoned:
            run = self._ledger.run(self._abandoned[0])
            try:
                self._reconcile(run)
            except LedgerUnreachable:
                raise
            except Exception as error:  # a run that cannot be taken up must not hold up the others
                self._give_up(run, error)
                self._remove_when_gone(run)
            del self._abandoned[0]

    def _reconcile(self, run: Run) -> None:
        if self._executed_here(run.id):
            return
        folder = self._home.runs / run.id
        end_left_worker(folder)
        if run.state is RunState.QUEUED:
            commit = self._commits.find(run.commit)
            if commit is not None:
                log.info("run %s was asked for and not begun: it takes its turn now", run.id)
                try:
                    resolved = self._resolver.resolve(run.request, commit, run)
                except (RequestError, Conflict) as error:
                    self._ledger.state(run.id, RunState.ERROR, str(error))
                    self._queue.done(run.id)
                else:
                    self._begin(run.id, resolved)
                return
        over = run.state.final
        if not over and not self._refreshes(run):
            end_abandoned(run, folder, self._ledger)
            over = True
        if not over:
            self._end_hold(run, folder)
        self._remove_when_gone(run, over)

    def _end_hold(self, run: Run, folder: Path) -> None:
        """Writes down that nobody decides on its refresh any more, where it waits for that: the
        looks that come before its end take a while. Raises LedgerUnreachable."""
        self._write_down(Record(run.id, folder / EVENTS_FILE, self._ledger), run, NOTHING_FOUND)
        if self._ledger.run(run.id).holds:
            step = RefreshStep(Step.WAITS, TOO_LATE)
            self._ledger.event(run.id, datetime.now(UTC), EventKind.REFRESH, step.of_event())

    def _refreshes(self, run: Run) -> bool:
        """Whether it builds aside or undoes: only the warehouse knows what that has come to. A
        rerun does what the first run of its story does."""
        story = self._ledger.story_heads(run.id) if run.follows else [run]
        return refresh_options(self._settings, story[0].request) is not None

    def _give_up(self, run: Run, error: Exception) -> None:
        log.exception("run %s", run.id)
        detail = f"The runner could not take it up again: {error}"
        self._ledger.state(run.id, RunState.ERROR, detail)

    def _remove_when_gone(self, run: Run, over: bool = True) -> None:
        """Removes the run's entry once no session of it is in the warehouse.

        A run that is not `over` gets its end after a look there, which alone shows whether it has
        swapped. A warehouse that does not answer delays the end by LOOKS looks.
        """
        threading.Thread(
            target=self._look_until_gone, args=(run, over), name=f"remove {run.id}", daemon=True
        ).start()

    def _look_until_gone(self, run: Run, over: bool) -> None:
        record = Record(run.id, self._home.runs / run.id / EVENTS_FILE, self._ledger)
        for found, enough in looks(partial(self._look, run)):
            ends = not over and enough
            try:
                self._write_down(record, run, found)
                if ends:
                    self._end(run, found)
            except LedgerUnreachable as error:
                log.warning("run %s waits: %s", run.id, error.message)
            else:
                over = over or ends
                if found.gone and over:
                    break
            if self._stopped.wait(POLL_SECONDS):
                return
        self._queue.done(run.id, 0.0 if found.asked else ORPHAN_SECONDS)

    def _look(self, run: Run) -> Found:
        try:
            return self._end_sessions(self._job_of(run))
        except Exception as error:  # no commit is ready yet, the profile cannot be read
            log.warning("run %s: its sessions cannot be looked for: %s", run.id, error)
            return Found(error=str(error))

    def _write_down(self, record: Record, run: Run, found: Found) -> None:
        """Adds the events that the dead runner did not take, then what a look has found. That one
        cannot be added neither hides the other nor keeps the entry. Raises LedgerUnreachable."""
        for add in (record.take, partial(record_found, found, run.id, self._ledger)):
            try:
                add()
            except LedgerUnreachable:
                raise
            except Exception:
                log.exception("run %s", run.id)

    def _end(self, run: Run, found: Found) -> None:
        try:
            end_abandoned(run, self._home.runs / run.id, self._ledger, found)
        except LedgerUnreachable:
            raise
        except Exception as error:
            self._give_up(run, error)

    def _job_of(self, run: Run) -> Job:
        """The job of a run of an earlier runner; when its files are not here, a job that reaches
        the same warehouse."""
        folder = self._home.runs / run.id
        with suppress(OSError, ValueError, KeyError):
            job = Job.read(folder)
            if job.project.exists():
                return job
        resolved = ResolvedRequest(
            commit=self._commits.find(run.commit) or self._commits.newest(),
            command=Command("build"),
            variables={},
            target=run.target,
            caller=run.caller,
            notices=(),
            refresh=RefreshOptions() if self._refreshes(run) else None,
        )
        job = resolved.job(folder, Profile.of(self._settings, self._home))
        job = replace(job, done=tuple(step.step for step in run.refresh))
        job.write()
        return job


def end_left_worker(folder: Path) -> None:
    """Ends a worker that outlived its runner; its command line names the run's folder."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()
        # A person may look into the folder with a program of their own.
        if str(folder) in words and MODULE in words:
            log.warning("ending worker %s, left by an earlier runner", process.pid)
            process.kill()
            wait_until_ended([process], END_SECONDS)


def end_abandoned(run: Run, folder: Path, ledger: Ledger, found: Found = NOTHING_FOUND) -> None:
    """Takes what dbt wrote for a run whose runner is dead, and judges the run by it.

    `found` is what a look into the warehouse has shown. A cancellation that nobody carried out any
    more has its effect: the run is cut off, and ends as cancelled. A decision to swap is named.
    """
    by = ledger.asked_to_cancel([run.id]).get(run.id)
    # Its events are in its runner's home. A look makes the folder, with the job that looks.
    here = (folder / EVENTS_FILE).exists()
    stopped = f"{RUNNER_STOPPED} while this run was going on" if here else TAKEN_OVER
    reason = cancelled(by) if by else stopped
    record = Record(run.id, folder / EVENTS_FILE, ledger, lambda: reason)
    record.recall()
    record.take()
    plan = ledger.plan(run)
    record.fill(plan, "" if record.ended else reason)
    state, detail = record.verdict(plan)
    if state is not RunState.SUCCESS:
        why = f"{reason[0].upper()}{reason[1:]}."
        if by:
            state, detail = RunState.CANCELLED, why
        elif reason not in detail:
            detail = f"{detail} {why}"
        decided = ledger.swap_decided_by(run.id)
        if decided and not ledger.run(run.id).swapped:
            detail = f"{detail} {decided} had decided to swap."
    detail = found.completed(state, detail)
    log.warning("run %s had no final state: %s %s", run.id, state, detail)
    ledger.state(run.id, state, detail)
