"""Processes of this machine: how one ended, waiting for the end of others, and adopting orphans."""

from __future__ import annotations

import ctypes
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

POLL_SECONDS = 0.05

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Makes this process the subreaper of its descendants: it becomes the parent of their orphans.

    Only Linux has this; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def how_ended(status: int) -> str:
    """A process's end in words, by its exit status as `Popen.returncode` has it."""
    if status >= 0:
        return f"exit status {status}"
    known = -status in set(signal.Signals)
    return f"killed by {signal.Signals(-status).name if known else f'signal {-status}'}"


def ended(process: psutil.Process) -> bool:
    """Whether it runs no longer.

    A zombie has ended: it holds nothing. Where the first process of a container adopts orphans and
    never asks for their status, it stays for ever.
    """
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_ended(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Waits until all have ended, `seconds` at most; returns those that still run."""
    deadline = time.monotonic() + seconds
    left = list(processes)
    while left := [process for process in left if not ended(process)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    return left


def send(process: psutil.Process, number: int) -> None:
    """Sends a signal to a process that may have ended meanwhile, or may not be ours."""
    with suppress(psutil.Error):
        process.send_signal(number)
