"""A process of the runner's, and its end in words."""

from __future__ import annotations

import signal
from typing import Protocol

UNKNOWN = 256
"""In place of an exit status that nobody can know any more."""


class Child(Protocol):
    """What a worker needs of its process; `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


def how_ended(code: int) -> str:
    """A process's end in words, of its exit status as `Popen.returncode` has it."""
    if code == UNKNOWN:
        return "how is not known, the process that forked it is gone"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
