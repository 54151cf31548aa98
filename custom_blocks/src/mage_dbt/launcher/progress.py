"""The lines that a start prints: seconds since it began, and what happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mage_dbt.errors import MachineError

QUIET_SECONDS = 10.0
"""Between two lines about a wait that goes on."""

POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 0.5
"""Between two probes of a wait, at its beginning and later."""

T = TypeVar("T")


class Progress:
    """Prints `[ 12 s] text`.

    `started` is in seconds since the epoch. It may lie before this program began: the first stage
    hands over by exec.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Prints one line. Safe to call from any thread."""
        seconds = time.time() - self._started
        with self._lock:
            print(f"[{seconds:4.0f} s] {text}", flush=True)

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Prints `Still what (n s)` now and then while the block runs."""
        began = time.monotonic()
        over = threading.Event()

        def remind() -> None:
            while not over.wait(QUIET_SECONDS):
                self.say(f"Still {what} ({time.monotonic() - began:.0f} s)")

        thread = threading.Thread(target=remind, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def wait_for(
    what: str,
    probe: Callable[[], T | str],
    seconds: float,
    progress: Progress,
    longest_poll: float = LONGEST_POLL_SECONDS,
) -> T:
    """Waits until `probe` returns something else than a text, which says what is missing.

    The longer it has waited, the longer it waits between two probes: each takes CPU from what is
    waited for. Raises MachineError with the last text when `seconds` have passed.
    """
    began = time.monotonic()
    with progress.during(f"waiting for {what}"):
        while isinstance(seen := probe(), str):
            waited = time.monotonic() - began
            if waited >= seconds:
                raise MachineError(f"Waited {seconds:.0f} s for {what}; last seen: {seen}")
            time.sleep(min(max(POLL_SECONDS, waited / 10), longest_poll))
    return seen
