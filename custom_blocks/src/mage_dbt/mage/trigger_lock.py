"""One change or copy of triggers at a time, among the processes of Mage and the runner.

Each changes a trigger's file by reading it, and writing all of it again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mage_dbt.errors import Unavailable

WAIT_SECONDS = 5.0
"""A change takes milliseconds."""

POLL_SECONDS = 0.02

CANNOT_LOCK = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a volume answers that knows no locks of folders, such as one by NFS."""


@contextmanager
def only_change(project: Path) -> Iterator[None]:
    """Nobody else changes or copies triggers of this Mage project in this block.

    Raises Unavailable when somebody does for WAIT_SECONDS. Where the volume cannot lock, nothing is
    held, as in Mage itself.
    """
    pipelines = os.open(project / "pipelines", os.O_RDONLY)
    try:
        _lock(pipelines)
        yield
    finally:
        # Not by closing it: a child that was forked meanwhile has it open too.
        _unlock(pipelines)
        os.close(pipelines)


def _lock(pipelines: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(pipelines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"Another change of triggers goes on for {WAIT_SECONDS:.0f} s. Nothing was "
                    "changed.",
                    "Try again. If it stays so, start Mage again.",
                ) from None
            time.sleep(POLL_SECONDS)
        except OSError as error:
            if error.errno not in CANNOT_LOCK:
                raise
            return
        else:
            return


def _unlock(pipelines: int) -> None:
    try:
        fcntl.flock(pipelines, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno not in CANNOT_LOCK:
            raise
