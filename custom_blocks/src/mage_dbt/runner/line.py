"""The line in which planned runs wait for their turn; it stands in PostgreSQL, for every runner.

A run that a runner carries has a row in `line.place`. One thread, the dispatcher, does all that
this runner does in the database: it decides (in one short transaction, one runner at a time, by
`places.take_turns`), holds the locks that tell that runner and runs live, and removes rows. It is
woken at once by what happens here; what other runners do it sees within `LOOK_SECONDS`, and looks
only while something of its own waits.

Rows decide and locks tell who is dead. A runner holds a lock of its own, and one for each run that
is going on; the descriptor of that one's socket is handed to the worker, so that the lock lives as
long as runner or worker does. A place whose locks are both gone is taken over by a living runner
(`abandoned`), which gives the run its end or its turn; until then it keeps its relations.
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
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import psycopg

from mage_dbt.errors import LedgerUnreachable
from mage_dbt.home import Home
from mage_dbt.run import Run
from mage_dbt.runner import locks
from mage_dbt.runner.locks import Session
from mage_dbt.runner.place_rows import PlaceRows, State
from mage_dbt.runner.places import Place, all_reasons, take_turns
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LOOK_SECONDS = 0.2
"""Between two looks at the line while something of ours waits in it."""

RETRY_SECONDS = 0.5
"""Between two tries to reach a PostgreSQL that is away."""

ORPHAN_SECONDS = 2.0
"""How long the SQL of a killed worker is taken to live on in a server that cannot be asked."""

GRACE_SECONDS = 5.0
"""How long the locks of another runner must be gone before it counts as dead. More than
ORPHAN_SECONDS, and more than a runner needs to take its locks again after PostgreSQL's restart."""

ASK_SECONDS = 10.0
"""How long a caller waits for the dispatcher before it is told that PostgreSQL does not answer."""


@dataclass
class _Waiter:
    """A run of ours that is in the line, as its own thread and the dispatcher both see it."""

    run: Run
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    hold: Callable[[int], None]
    entered: bool = False
    reason: str = ""
    turn: bool = False
    left: bool = False


@dataclass
class _Hold:
    """The lock of one running run. Without a session it has to be taken (again)."""

    hold: Callable[[int], None]
    waiter: _Waiter | None
    session: Session | None = None


class Line:
    """`open` it; then any method from any thread. Each run waits in a thread of its own."""

    def __init__(
        self,
        database_url: str,
        settings: Settings,
        home: Home,
        lost: Callable[[str], None] = lambda run: None,
    ) -> None:
        """`lost` is called with a run of ours that another runner took over, thinking us dead."""
        self._url = database_url
        self._parallel_runs = settings.runner_parallel_runs
        self._zone = ZoneInfo(settings.daily_build_timezone)
        self._rows = PlaceRows(f"{socket.gethostname()}:{home.root.resolve()}")
        self._lost = lost
        self.warm_places = threading.Semaphore(settings.runner_parallel_runs)
        """How many waiting runs may keep their worker, so that they start at once."""
        self._changed = threading.Condition()
        # Guarded by _changed; the rest is the dispatcher's alone.
        self._carried: dict[str, int] = {}
        self._waiters: dict[str, _Waiter] = {}
        self._gave_up: set[str] = set()
        self._leaving: dict[str, float] = {}
        self._orders: list[tuple[Callable[[Session], Any], Future[Any]]] = []
        self._closing = False
        self._session: Session | None = None
        self._holds: dict[str, _Hold] = {}
        self._seen: State | None = None
        self._gone_since: dict[str, float] = {}
        self._first_look = True
        self._woken, self._wakeup = os.pipe()
        for end in (self._woken, self._wakeup):
            os.set_blocking(end, False)
        self._thread = threading.Thread(target=self._work, name="line", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Takes what has left out of the line, and drops the locks."""
        with self._changed:
            self._closing = True
        self._wake()
        self._thread.join(ASK_SECONDS)

    # ------------------------------------------------------------------ a run

    def carry(self, run: str) -> bool:
        """This runner carries the run from now on; False when another one has taken it.

        Raises LedgerUnreachable.
        """
        return self._ask(lambda session: self._carry(session, run))

    def wait(
        self,
        run: Run,
        writes: Iterable[str],
        reads: Iterable[str],
        waiting: Callable[[str], None],
        hold: Callable[[int], None],
    ) -> bool:
        """Returns True when it is the run's turn, False when it gave up meanwhile.

        `waiting` is called with what it waits for, in words, each time that changes; `hold` with
        the descriptor of the session that holds the run's lock, which its worker has to keep open,
        before this returns and again whenever the lock had to be taken again. A run that has its
        turn and comes here again goes back into the line, at its end.
        """
        waiter = _Waiter(run, tuple(sorted(writes)), tuple(sorted(reads)), hold)
        told = ""
        with self._changed:
            if run.id not in self._carried or run.id in self._gave_up:
                return False
            self._waiters[run.id] = waiter
            self._wake()
            while not (waiter.turn or waiter.left):
                if waiter.reason == told:
                    self._changed.wait()
                    continue
                told = waiter.reason
                self._changed.release()
                try:
                    waiting(told)  # writes to the ledger: not while holding everyone up
                finally:
                    self._changed.acquire()
            return waiter.turn

    def give_up(self, run: str) -> None:
        """A run that waits, or is about to, no longer wants its turn; one that has it keeps it."""
        with self._changed:
            self._gave_up.add(run)
            waiter = self._waiters.pop(run, None)
            if waiter is not None:
                waiter.left = True
            self._changed.notify_all()

    def leave(self, run: str, after: float = 0.0) -> None:
        """The run is over; `after` that many seconds nothing of it is at work any more."""
        self.give_up(run)
        with self._changed:
            self._leaving[run] = time.monotonic() + after
        self._wake()

    # --------------------------------------------------------------- questions

    def would_wait(self, writes: Iterable[str], reads: Iterable[str]) -> list[str]:
        """Whom a run with these relations would wait for if it came now: a sentence for each.

        Raises LedgerUnreachable.
        """
        wish = Place(0, "", "", "", "", tuple(sorted(writes)), tuple(sorted(reads)))

        def look(session: Session) -> list[str]:
            return all_reasons(wish, self._rows.look(session), self._parallel_runs, self._zone)

        return self._ask(look)

    def abandoned(self) -> list[str]:
        """Runs whose runner is dead, oldest first. This runner carries them from now on.

        Raises LedgerUnreachable.
        """
        return self._ask(self._take_over)

    def _ask(self, order: Callable[[Session], Answer]) -> Answer:
        """Has the dispatcher do it, over its session."""
        answer: Future[Answer] = Future()
        with self._changed:
            self._orders.append((order, answer))
        self._wake()
        try:
            return answer.result(ASK_SECONDS)
        except (psycopg.OperationalError, psycopg.InterfaceError, TookTooLong) as error:
            answer.cancel()
            raise LedgerUnreachable(
                f"PostgreSQL, which holds the line, does not answer: {error}".strip(),
                "It is tried again; `mage-dbt status` shows whether it is back.",
            ) from error

    # -------------------------------------------------------------- dispatcher

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full of wake-ups: it wakes
            os.write(self._wakeup, b".")

    def _work(self) -> None:
        while not self._closing:
            try:
                self._sleep(self._turn_of_work())
            except Exception:  # the line must outlive any one failure; the log has the whole of it
                log.exception("line")
                time.sleep(RETRY_SECONDS)
        self._turn_of_work()
        self._disconnect(None)

    def _turn_of_work(self) -> float | None:
        """Does all there is to do; gives the seconds until there is more, None for not known."""
        try:
            session = self._session or self._connect()
            self._obey(session)
            self._remove(session)
            self._take_holds()
            if self._waiters:
                self._dispatch(session)
                self._take_holds()
            return self._until_next()
        except psycopg.Error as error:
            self._disconnect(error)
            return RETRY_SECONDS

    def _sleep(self, seconds: float | None) -> None:
        """Until something happens: here, or to one of our sessions."""
        watch = select.poll()
        watch.register(self._woken, select.POLLIN)
        if self._session is not None:
            watch.register(self._session.fileno(), select.POLLIN)
        for hold in self._holds.values():
            if hold.session is not None:
                watch.register(hold.session.fileno(), select.POLLIN)
        watch.poll(None if seconds is None else seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, 4096):
                pass
        if self._session is not None and not locks.lives(self._session):
            self._disconnect(None)
        for run, hold in self._holds.items():
            if hold.session is not None and not locks.lives(hold.session):
                log.warning("run %s: its lock's session is gone; taking it again", run)
                hold.session.close()
                hold.session = None

    def _until_next(self) -> float | None:
        with self._changed:
            now = time.monotonic()
            due = [at - now for at in self._leaving.values()]
            due += [LOOK_SECONDS] if self._waiters else []
            due += [RETRY_SECONDS] if any(not one.session for one in self._holds.values()) else []
            return max(min(due), 0.0) if due else None

    def _connect(self) -> Session:
        """A new session with a new number, which the places of the old one get."""
        session = locks.open_session(self._url, "mage-dbt line")
        try:
            number = secrets.randbelow(2**31 - 1) + 1
            while not locks.take(session, locks.RUNNER, number):
                number = secrets.randbelow(2**31 - 1) + 1
            with self._changed:
                carried = list(self._carried)
                waiting = list(self._waiters)
            kept = self._rows.renumber(session, number, waiting)
        except BaseException:
            session.close()
            raise
        self._session, self._seen = session, None
        for run in carried:
            if run not in kept:
                self._forget(run)
                log.error("run %s was taken over by another runner", run)
                self._lost(run)
        return session

    def _disconnect(self, error: Exception | None) -> None:
        if error is not None:
            log.warning("the line: %s", str(error).strip())
            for _, answer in self._take_orders():
                if answer.set_running_or_notify_cancel():
                    answer.set_exception(error)
        if self._session is not None:
            self._session.close()
            self._session = None
        if error is None and self._closing:
            for hold in self._holds.values():
                if hold.session is not None:
                    hold.session.close()

    def _take_orders(self) -> list[tuple[Callable[[Session], Any], Future[Any]]]:
        with self._changed:
            orders, self._orders = self._orders, []
        return orders

    def _obey(self, session: Session) -> None:
        orders = self._take_orders()
        for order, answer in orders:
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(order(session))
            except BaseException as error:
                answer.set_exception(error)
                if session.broken or session.closed:
                    self._session = None

    def _carry(self, session: Session, run: str) -> bool:
        return self._carries(run, self._rows.carry(session, run))

    def _carries(self, run: str, number: int | None) -> bool:
        if number is not None:
            with self._changed:
                self._carried[run] = number
        return number is not None

    def _remove(self, session: Session) -> None:
        with self._changed:
            now = time.monotonic()
            gone = [run for run, at in self._leaving.items() if at <= now or self._closing]
        if not gone:
            return
        self._rows.remove(session, gone)
        for run in gone:
            self._forget(run)

    def _forget(self, run: str) -> None:
        with self._changed:
            self._carried.pop(run, None)
            self._leaving.pop(run, None)
            self._gave_up.discard(run)
            waiter = self._waiters.pop(run, None)
            if waiter is not None:
                waiter.left = True
                self._changed.notify_all()
        hold = self._holds.pop(run, None)
        if hold is not None and hold.session is not None:
            hold.session.close()

    def _dispatch(self, session: Session) -> None:
        with self._changed:
            waiters = dict(self._waiters)
        coming = [one for one in waiters.values() if not one.entered]
        for run in [one.run.id for one in coming]:  # it has come back into the line
            hold = self._holds.pop(run, None)
            if hold is not None and hold.session is not None:
                hold.session.close()
        if not coming and self._rows.state(session) == self._seen:
            return
        with session.transaction():
            session.execute("select pg_advisory_xact_lock(%s::int, 0)", [locks.LINE])
            for one in coming:
                self._rows.enter(session, one.run, one.writes, one.reads)
            places = self._rows.look(session)
            turns = take_turns(places, self._parallel_runs, self._zone)
            # Somebody who gave up since keeps a place until its run is over.
            now = [one for one in turns.now if one.run in waiters]
            if now:
                self._rows.begin(session, [one.run for one in now])
            self._seen = self._rows.state(session)
        for one in coming:
            one.entered = True
        with self._changed:
            for place in now:
                waiter = waiters[place.run]
                self._holds[place.run] = _Hold(waiter.hold, waiter)
                self._waiters.pop(place.run, None)
            for run, reason in turns.reasons.items():
                if run in self._waiters:
                    self._waiters[run].reason = reason
            self._changed.notify_all()

    def _take_holds(self) -> None:
        """Takes the locks of running runs that have none; only then does a run begin."""
        for run, hold in list(self._holds.items()):
            if hold.session is not None:
                continue
            session = locks.open_session(self._url, f"mage-dbt run {run}")
            if not locks.take(session, locks.RUN, self._carried[run]):
                session.close()  # a lost connection's session that PostgreSQL still believes in
                continue
            hold.session = session
            hold.hold(session.fileno())
            with self._changed:
                if hold.waiter is not None:
                    hold.waiter.turn = True
                    hold.waiter = None
                    self._changed.notify_all()

    def _take_over(self, session: Session) -> list[str]:
        taken: list[str] = []
        others = self._rows.of_others(session)
        if others:
            held, now = locks.held(session), time.monotonic()
            dead = [row for row in others if (locks.RUNNER, row["runner"]) not in held]
            worked_on = {row["run"] for row in dead if (locks.RUN, row["number"]) in held}
            gone = [row["run"] for row in dead if row["run"] not in worked_on]
            self._gone_since = {run: self._gone_since.get(run, now) for run in gone}
            for row in dead:
                # Of our own home: its runner is dead, or we would not be here; its worker we end.
                since = self._gone_since.get(row["run"], now)
                if row["home"] != self._rows.home and now - since < GRACE_SECONDS:
                    continue
                number = self._rows.take_over(session, row["run"], row["runner"])
                if self._carries(row["run"], number):
                    taken.append(row["run"])
        left = self._rows.left_behind(session, GRACE_SECONDS, self._first_look)
        self._first_look = False
        for run in left:
            if run not in self._carried and self._carry(session, run):
                taken.append(run)
        return taken
