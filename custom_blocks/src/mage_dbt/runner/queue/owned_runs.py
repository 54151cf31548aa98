"""The runs that this runner owns, as their own threads and the dispatcher both see them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from mage_dbt.model.run import Run


@dataclass
class WaitingRun:
    """A run that waits for its turn."""

    run: Run
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    on_lease: Callable[[int], None]
    """Called with the descriptor of the lease's session each time that it is taken."""
    entered: bool = False
    """Whether it stands in the queue."""
    reason: str = ""
    """For whom it waits, in words."""
    turn: bool = False
    """Whether it has its turn and its lease."""
    withdrawn: bool = False
    """Whether it no longer wants, or can no longer get, its turn."""


class OwnedRuns:
    """Any method from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._leases: dict[str, int] = {}
        self._waiting: dict[str, WaitingRun] = {}
        self._withdrawn: set[str] = set()
        self._removable: dict[str, float] = {}

    # ------------------------------------------------------- for a run's thread

    def enter(self, waiting: WaitingRun) -> bool:
        """The run waits from now on; False when it was withdrawn or is not ours."""
        run = waiting.run.id
        with self._changed:
            if run not in self._leases or run in self._withdrawn:
                return False
            self._waiting[run] = waiting
            return True

    def wait(self, waiting: WaitingRun, on_reason: Callable[[str], None]) -> bool:
        """Returns True when it is the run's turn, False when it was withdrawn.

        `on_reason` is called each time that the reason changes.
        """
        last = ""
        with self._changed:
            while not (waiting.turn or waiting.withdrawn):
                if waiting.reason == last:
                    self._changed.wait()
                    continue
                last = waiting.reason
                self._changed.release()
                try:
                    on_reason(last)  # writes to the ledger: not while others need the lock
                finally:
                    self._changed.acquire()
            return waiting.turn

    def withdraw(self, run: str) -> None:
        """The run no longer wants its turn; one that has it keeps it."""
        with self._changed:
            self._withdrawn.add(run)
            self._withdraw(self._waiting.pop(run, None))

    def done(self, run: str, after: float) -> None:
        """The run is over; its entry may be removed in `after` seconds."""
        self.withdraw(run)
        with self._changed:
            self._removable[run] = time.monotonic() + after

    # -------------------------------------------------------- for the dispatcher

    def add(self, run: str, lease: int) -> None:
        """The run is ours; `lease` is the number of its lease."""
        with self._changed:
            self._leases[run] = lease

    def lease(self, run: str) -> int:
        with self._changed:
            return self._leases[run]

    def all(self) -> list[str]:
        with self._changed:
            return list(self._leases)

    def __contains__(self, run: object) -> bool:
        with self._changed:
            return run in self._leases

    def waiting(self) -> dict[str, WaitingRun]:
        with self._changed:
            return dict(self._waiting)

    def called(self, runs: Collection[str]) -> None:
        """PostgreSQL holds that these have their turn, so they can no longer be withdrawn."""
        with self._changed:
            for run in runs:
                self._waiting.pop(run, None)

    def explain(self, reasons: Mapping[str, str]) -> None:
        """Why runs wait: a sentence by run."""
        with self._changed:
            for run, reason in reasons.items():
                if run in self._waiting:
                    self._waiting[run].reason = reason
            self._changed.notify_all()

    def begin(self, waiting: WaitingRun) -> None:
        """The run has its turn and its lease."""
        with self._changed:
            waiting.turn = True
            self._changed.notify_all()

    def removable(self, everything: bool) -> list[str]:
        """Runs whose entries may be removed now; `everything` does not wait any longer."""
        with self._changed:
            now = time.monotonic()
            return [run for run, at in self._removable.items() if at <= now or everything]

    def seconds_until_removable(self) -> float | None:
        """Until the next entry may be removed; None when there is none."""
        with self._changed:
            if not self._removable:
                return None
            return max(min(self._removable.values()) - time.monotonic(), 0.0)

    def forget(self, run: str, called: WaitingRun | None = None) -> None:
        """The run is no longer ours, over or not; `called` is it when its turn had come."""
        with self._changed:
            self._leases.pop(run, None)
            self._removable.pop(run, None)
            self._withdrawn.discard(run)
            self._withdraw(self._waiting.pop(run, None))
            self._withdraw(called)

    def _withdraw(self, waiting: WaitingRun | None) -> None:
        if waiting is not None:
            waiting.withdrawn = True
            self._changed.notify_all()
