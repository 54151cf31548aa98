"""The one way to wait: ask again and again until there is an answer, or a deadline passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from mage_dbt.launcher.progress import Progress, wait_for

T = TypeVar("T")

SECONDS = 300.0
"""How long a test waits unless it says otherwise. Far more than anything takes on an idle machine:
a deadline that passes is a fault, and a busy machine is none. Nothing waits for less, unless the
deadline is what has to pass: `tests/checks/test_deadlines.py`."""


def wait_until(what: str, probe: Callable[[], T | str], seconds: float = SECONDS) -> T:
    """Waits until `probe` returns something other than text, and gives it.

    Text says what is still missing. Raises MachineError with the last text when `seconds` have
    passed.
    """
    return wait_for(what, probe, seconds, progress())


def wait_for_time(moment: float) -> None:
    """Waits until `time.monotonic()` has passed `moment`."""
    seconds = max(0.0, moment - time.monotonic())
    wait_until("the moment", lambda: time.monotonic() >= moment or "not yet", seconds + SECONDS)


def progress() -> Progress:
    """Prints with the seconds since this process began."""
    return Progress(psutil.Process().create_time())
