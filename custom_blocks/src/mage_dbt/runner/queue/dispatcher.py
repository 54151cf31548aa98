"""The one thread that does a runner's work in the queue's tables.

It decides whose turn it is (in one short transaction, one runner at a time, by
`entries.take_turns`), takes and drops leases, and removes entries. It wakes at once when something
happens in this process, and by PostgreSQL's NOTIFY when another runner changes the queue. A slow
poll stays as the net, because a lost session or a pooler may drop notifications.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as CallTimeout
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import psycopg

from mage_dbt.base.tool_command import tool_command
from mage_dbt.errors import LedgerUnreachable
from mage_dbt.home import Home
from mage_dbt.runner.queue import leases
from mage_dbt.runner.queue.entries import take_turns
from mage_dbt.runner.queue.leases import Leases, Session
from mage_dbt.runner.queue.owned_runs import OwnedRuns, WaitingRun
from mage_dbt.runner.queue.rows import EntryRows, State
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CHANNEL = "mage_dbt_queue"
"""A trigger of `queue.entry` notifies it of every change (migration 0008)."""

POLL_SECONDS = 5.0
"""Between two polls of the queue while a run of ours waits and nothing is notified."""

RETRY_SECONDS = 0.5
"""Between two tries to reach a PostgreSQL that is away."""

GRACE_SECONDS = 5.0
"""How long the locks of another runner must be gone before it counts as dead. More than
ORPHAN_SECONDS, and more than a runner needs to take its locks again after PostgreSQL's restart."""

CALL_SECONDS = 10.0
"""How long a caller waits for the dispatcher before PostgreSQL counts as away."""

Call = tuple[Callable[[Session], Any], "Future[Any]"]


class Dispatcher:
    """`open` it; then `wake` and `call` from any thread. The rest is for its own thread."""

    def __init__(
        self,
        database_url: str,
        settings: Settings,
        home: Home,
        runs: OwnedRuns,
        on_lost: Callable[[str], None],
    ) -> None:
        """`on_lost` is called with a run of `runs` that another runner took over."""
        self._url = database_url
        self._parallel_runs = settings.runner_parallel_runs
        self._zone = ZoneInfo(settings.daily_build_timezone)
        self._runs = runs
        self._on_lost = on_lost
        self.rows = EntryRows(f"{socket.gethostname()}:{home.root.resolve()}")
        self._leases = Leases(database_url)
        self._session: Session | None = None
        self._called: dict[str, WaitingRun] = {}
        """Runs whose turn has come and whose lease is not taken yet."""
        self._state: State | None = None
        self._notified = False
        self._dead_since: dict[str, float] = {}
        self._all_runs_checked = False
        self._calls_guard = threading.Lock()
        self._calls: list[Call] = []
        self._closing = False
        self._wake_reader, self._wake_writer = os.pipe()
        for end in (self._wake_reader, self._wake_writer):
            os.set_blocking(end, False)
        self._thread = threading.Thread(target=self._work, name="queue", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Removes the entries of runs that are done, and drops the locks."""
        self._closing = True
        self.wake()
        self._thread.join(CALL_SECONDS)

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full of wake-ups, so it wakes
            os.write(self._wake_writer, b".")

    def call(self, function: Callable[[Session], Answer]) -> Answer:
        """Has the dispatcher call the function with its session; returns the answer.

        Raises LedgerUnreachable.
        """
        answer: Future[Answer] = Future()
        with self._calls_guard:
            self._calls.append((function, answer))
        self.wake()
        try:
            return answer.result(CALL_SECONDS)
        except (psycopg.OperationalError, psycopg.InterfaceError, CallTimeout) as error:
            answer.cancel()
            raise LedgerUnreachable(
                f"PostgreSQL, which holds the queue, does not answer: {error}".strip(),
                f"It is tried again; `{tool_command('status')}` shows whether it is back.",
            ) from error

    # --------------------------------------------------------------- its thread

    def _work(self) -> None:
        while not self._closing:
            try:
                self._sleep(self._work_off())
            except Exception:  # the queue must outlive any one failure; the log has the traceback
                log.exception("queue")
                time.sleep(RETRY_SECONDS)
        self._work_off()
        self._disconnect()
        self._leases.drop_all()

    def _work_off(self) -> float | None:
        """Does all there is to do; gives the seconds until there is more, None when unknown."""
        try:
            session = self._session or self._connect()
            self._notified = False
            self._answer_calls(session)
            self._remove(session)
            self._take_leases()
            if self._runs.waiting():
                self._dispatch(session)
                self._take_leases()
            return self._seconds_until_next()
        except psycopg.Error as error:
            log.warning("the queue: %s", str(error).strip())
            for _, answer in self._take_calls():
                if answer.set_running_or_notify_cancel():
                    answer.set_exception(error)
            self._disconnect()
            return RETRY_SECONDS

    def _sleep(self, seconds: float | None) -> None:
        """Until something happens, here or in one of our sessions."""
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        if self._session is not None:
            poll.register(self._session.fileno(), select.POLLIN)
        for descriptor in self._leases.descriptors():
            poll.register(descriptor, select.POLLIN)
        poll.poll(None if seconds is None else seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_reader, 4096):
                pass
        if self._session is not None and not leases.alive(self._session):
            self._disconnect()
        self._leases.drop_lost()

    def _seconds_until_next(self) -> float | None:
        due = [self._runs.seconds_until_removable()]
        if self._runs.waiting():
            # What came while we were at work is no longer in the socket.
            due.append(0.0 if self._notified else POLL_SECONDS)
        if self._leases.any_missing:
            due.append(RETRY_SECONDS)
        return min((seconds for seconds in due if seconds is not None), default=None)

    # ----------------------------------------------------------------- session

    def _connect(self) -> Session:
        """A new session with a new number, which the entries of the old session get."""
        session = leases.open_session(self._url, "mage-dbt queue")
        try:
            session.add_notify_handler(self._on_notification)
            session.execute(f"listen {CHANNEL}".encode())
            number = _new_number()
            while not leases.take(session, leases.RUNNER, number):
                number = _new_number()
            owned = self._runs.all()
            ours = self.rows.renumber(session, number, list(self._runs.waiting()))
        except BaseException:
            session.close()
            raise
        self._session, self._state = session, None
        for run in owned:
            if run not in ours:
                self._forget(run)
                log.error("run %s was taken over by another runner", run)
                self._on_lost(run)
        return session

    def _on_notification(self, notification: psycopg.Notify) -> None:
        session = self._session
        if session is None or notification.pid != session.info.backend_pid:
            self._notified = True

    def _disconnect(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    # ------------------------------------------------------------------- calls

    def _take_calls(self) -> list[Call]:
        with self._calls_guard:
            calls, self._calls = self._calls, []
        return calls

    def _answer_calls(self, session: Session) -> None:
        for function, answer in self._take_calls():
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(function(session))
            except BaseException as error:
                answer.set_exception(error)
                if session.broken or session.closed:
                    self._session = None

    def claim(self, session: Session, run: str) -> bool:
        """Makes the run ours; False when another runner owns it."""
        return self._add(run, self.rows.claim(session, run))

    def take_over(self, session: Session) -> list[str]:
        """Makes the runs ours whose runner is dead; returns them."""
        taken: list[str] = []
        others = self.rows.of_others(session)
        if others:
            held, now = leases.held(session), time.monotonic()
            dead = [row for row in others if (leases.RUNNER, row["runner"]) not in held]
            worked_on = {row["run"] for row in dead if (leases.RUN, row["lease"]) in held}
            gone = [row["run"] for row in dead if row["run"] not in worked_on]
            self._dead_since = {run: self._dead_since.get(run, now) for run in gone}
            for row in dead:
                # A runner of our own home is dead, or we would not run; we end its worker.
                since = self._dead_since.get(row["run"], now)
                if row["home"] != self.rows.home and now - since < GRACE_SECONDS:
                    continue
                lease = self.rows.take_over(session, row["run"], row["runner"])
                if self._add(row["run"], lease):
                    taken.append(row["run"])
        found = self.rows.without_entry(session, GRACE_SECONDS, not self._all_runs_checked)
        self._all_runs_checked = True
        for run in found:
            if run not in self._runs and self.claim(session, run):
                taken.append(run)
        return taken

    def _add(self, run: str, lease: int | None) -> bool:
        if lease is not None:
            self._runs.add(run, lease)
        return lease is not None

    # ----------------------------------------------------------------- entries

    def _remove(self, session: Session) -> None:
        runs = self._runs.removable(everything=self._closing)
        if runs:
            self.rows.remove(session, runs)
        for run in runs:
            self._forget(run)

    def _forget(self, run: str) -> None:
        self._runs.forget(run, self._called.pop(run, None))
        self._leases.drop(run)

    def _dispatch(self, session: Session) -> None:
        """Enters runs that came, and gives a turn to those that collide with no other entry."""
        waiting = self._runs.waiting()
        new = [run for run in waiting.values() if not run.entered]
        for run in new:  # a run that comes back has a lease from its turn
            self._leases.drop(run.run.id)
        if not new and self.rows.state(session) == self._state:
            return
        with session.transaction():
            session.execute("select pg_advisory_xact_lock(%s::int, 0)", [leases.QUEUE])
            for run in new:
                self.rows.enter(session, run.run, run.writes, run.reads)
            # The state that the turns are of, and no later one: an entry may go meanwhile.
            state = self.rows.state(session)
            turns = take_turns(self.rows.read(session, state), self._parallel_runs, self._zone)
            # A run that was withdrawn keeps its entry until it is over.
            called = [entry.run for entry in turns.now if entry.run in waiting]
            if called:
                self.rows.begin(session, called)
        self._state = state
        for run in new:
            run.entered = True
        for name in called:
            self._called[name] = waiting[name]
            self._leases.add(name, self._runs.lease(name), waiting[name].on_lease)
        self._runs.called(called)
        self._runs.explain(turns.reasons)

    def _take_leases(self) -> None:
        """Takes missing leases; a run begins only when it has its lease."""
        for run in self._leases.take_missing():
            if waiting := self._called.pop(run, None):
                self._runs.begin(waiting)


def _new_number() -> int:
    return secrets.randbelow(2**31 - 1) + 1
