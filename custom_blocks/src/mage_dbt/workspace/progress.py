"""Lines a person reads while the workspace starts: seconds since the start, and what happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mage_dbt.errors import MachineError

QUIET_SECONDS = 10.0
"""A wait says nothing for so long, then repeats itself as often."""

T = TypeVar("T")


class Progress:
    """Prints `[ 12 s] text`; `started` is seconds since the epoch, and may lie before this process
    image (the first stage hands over by exec)."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        seconds = time.time() - self._started
        with self._lock:
            print(f"[{seconds:4.0f} s] {text}", flush=True)

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Says `Still what: n s` now and then while the block runs, so that no wait is silent."""
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
    poll: float = 0.1,
) -> T:
    """Waits until `probe` returns something other than text; text is what is still missing.

    Raises MachineError with the last text when `seconds` have passed.
    """
    deadline = time.monotonic() + seconds
    with progress.during(f"waiting for {what}"):
        while isinstance(seen := probe(), str):
            if time.monotonic() >= deadline:
                raise MachineError(f"Waited {seconds:.0f} s for {what}; last seen: {seen}")
            time.sleep(poll)
    return seen
