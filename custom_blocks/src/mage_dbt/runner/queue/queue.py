"""The queue in which planned runs wait for their turn. PostgreSQL holds it, for every runner.

Rows of `queue.entry` decide whose turn it is; leases tell which owners are dead (`leases.py`). The
dispatcher does all of this runner's work on both, in one thread. A run whose runner and worker are
both dead is taken over by a living runner, which gives it its end or its turn; until then its entry
keeps its relations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from zoneinfo import ZoneInfo

from mage_dbt.home import Home
from mage_dbt.model.run import Run
from mage_dbt.runner.queue.dispatcher import Dispatcher
from mage_dbt.runner.queue.entries import Entry, all_reasons
from mage_dbt.runner.queue.leases import Session
from mage_dbt.runner.queue.owned_runs import OwnedRuns, WaitingRun
from mage_dbt.settings import Settings

ORPHAN_SECONDS = 2.0
"""How long the SQL of a killed worker may live on in a server that cannot be asked."""


class Queue:
    """`open` it; then any method from any thread. Each run waits in a thread of its own."""

    def __init__(
        self,
        database_url: str,
        settings: Settings,
        home: Home,
        on_lost: Callable[[str], None] = lambda run: None,
    ) -> None:
        """`on_lost` is called with a run of ours that another runner took over, as if we were
        dead."""
        self._parallel_runs = settings.runner_parallel_runs
        self._zone = ZoneInfo(settings.daily_build_timezone)
        self._runs = OwnedRuns()
        self._dispatcher = Dispatcher(database_url, settings, home, self._runs, on_lost)
        self.warm_workers = threading.Semaphore(settings.runner_parallel_runs)
        """How many waiting runs may keep their worker, so that they start at once."""

    def open(self) -> None:
        self._dispatcher.open()

    def close(self) -> None:
        """Removes the entries of runs that are done, and drops the locks."""
        self._dispatcher.close()

    # ------------------------------------------------------------------ a run

    def claim(self, run: str) -> bool:
        """This runner owns the run from now on; False when another runner owns it.

        Raises LedgerUnreachable.
        """
        return self._dispatcher.call(lambda session: self._dispatcher.claim(session, run))

    def wait(
        self,
        run: Run,
        writes: Iterable[str],
        reads: Iterable[str],
        on_reason: Callable[[str], None],
        on_lease: Callable[[int], None],
    ) -> bool:
        """Returns True when it is the run's turn, False when it was withdrawn meanwhile.

        `on_reason` is called with what the run waits for, in words, each time that it changes.
        `on_lease` is called with the descriptor of the session that holds the run's lease, which
        its worker has to keep open: before this returns, and again when the lease was taken again.
        A run that has its turn and waits again goes back to the end of the queue.
        """
        waiting = WaitingRun(run, tuple(sorted(writes)), tuple(sorted(reads)), on_lease)
        if not self._runs.enter(waiting):
            return False
        self._dispatcher.wake()
        return self._runs.wait(waiting, on_reason)

    def withdraw(self, run: str) -> None:
        """A run that waits, or is about to, no longer wants its turn; one that has it keeps it."""
        self._runs.withdraw(run)

    def done(self, run: str, after: float = 0.0) -> None:
        """The run is over: removes its entry in `after` seconds, when no SQL of it is at work."""
        self._runs.done(run, after)
        self._dispatcher.wake()

    # --------------------------------------------------------------- questions

    def would_wait(self, writes: Iterable[str], reads: Iterable[str]) -> list[str]:
        """For whom a run with these relations would wait if it came now: a sentence for each.

        Raises LedgerUnreachable.
        """
        wanted = Entry(0, "", "", "", "", tuple(sorted(writes)), tuple(sorted(reads)))

        def read(session: Session) -> list[str]:
            rows = self._dispatcher.rows
            entries = rows.read(session, rows.state(session))
            return all_reasons(wanted, entries, self._parallel_runs, self._zone)

        return self._dispatcher.call(read)

    def take_over(self) -> list[str]:
        """Takes over the runs whose runner is dead; returns them, oldest first.

        Raises LedgerUnreachable.
        """
        return self._dispatcher.call(self._dispatcher.take_over)
