"""Waiting for the end of processes that are not our children."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

LOOK_SECONDS = 0.05


def ended(process: psutil.Process) -> bool:
    """Whether it runs no longer.

    A zombie has ended: it holds nothing, and where the first process of a container adopts orphans
    and never asks for their status, it stays for ever.
    """
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_ended(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Waits for them, `seconds` at most; gives those that still run."""
    deadline = time.monotonic() + seconds
    left = list(processes)
    while left := [one for one in left if not ended(one)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(LOOK_SECONDS)
    return left
