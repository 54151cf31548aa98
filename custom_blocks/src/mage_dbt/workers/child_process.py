"""Child processes in which dbt runs: executed or forked, with the runner's ends of their channels.

Each has three descriptors: a socket as its standard input, a pipe for its answer, and a log file.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from mage_dbt.base import processes

MODULE = "mage_dbt.dbt.process"
"""Stands in the command line of every process in which dbt runs."""

# -P: nothing is imported from the folder in which the process starts.
COMMAND = (sys.executable, "-P", "-m", MODULE)

ROOM_FOR_COMMAND = " " * 600
"""Last argument of a process that forks. Its children write their own command line over it."""

UNKNOWN = 256
"""Stands for an exit status that nobody can know any more."""

STATUS_SECONDS = 2.0
"""Longest wait between a forked child's end and its parent's message with the exit status."""


class Process(Protocol):
    """A child process, executed or forked."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...

    def pidfd(self) -> int:
        """A descriptor that is readable once the process has ended. The caller closes it."""


class Executed(subprocess.Popen[bytes]):
    """A process that the runner executed; see `Process`."""

    def pidfd(self) -> int:
        return os.pidfd_open(self.pid)


class Forked:
    """A process that a zygote or a fork server forked; see `Process`.

    The pidfd shows its end even when its parent is gone. Only then its status stays unknown.
    """

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._code: Future[int] = Future()

    def __del__(self) -> None:
        os.close(self._pidfd)

    @property
    def pid(self) -> int:
        return self._pid

    def pidfd(self) -> int:
        return os.dup(self._pidfd)

    def poll(self) -> int | None:
        return self.wait(0) if self._over(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        if not self._over(timeout):
            raise subprocess.TimeoutExpired(f"process {self._pid}", timeout or 0)
        try:
            return self._code.result(STATUS_SECONDS)
        except TimeoutError:
            self.set_code(UNKNOWN)
            return self._code.result()

    def set_code(self, code: int) -> None:
        """Records the exit status. Only the first call counts."""
        with suppress(InvalidStateError):
            self._code.set_result(code)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _over(self, seconds: float | None) -> bool:
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(None if seconds is None else seconds * 1000))


@dataclass(frozen=True)
class Started:
    """A started process and the runner's ends of its channels."""

    process: Process
    connection: socket.socket
    """The other end of its standard input; it keeps message boundaries."""
    answer: IO[str]
    """What the process answers."""

    @classmethod
    def by(cls, start: Callable[[Sequence[int]], Process], output: IO[bytes]) -> Started:
        """Calls `start` with three descriptors: standard input, answer, log (`output`).

        Raises what `start` raises.
        """
        connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        try:
            with theirs:
                process = start([theirs.fileno(), writing, output.fileno()])
        except BaseException:
            connection.close()  # this ends a child of which the runner knows nothing
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return cls(process, connection, os.fdopen(reading))

    @classmethod
    def executed(
        cls,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        output: IO[bytes],
    ) -> Started:
        """Executes a process in `folder` that imports dbt. Raises OSError.

        `words` are its arguments; `dbt/process.py` lists them.
        """

        def start(descriptors: Sequence[int]) -> Process:
            control, answer, log = descriptors
            return Executed(
                [*COMMAND, *words],
                stdin=control,
                stdout=answer,
                stderr=log,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )

        return cls.by(start, output)


def how_ended(code: int) -> str:
    """A process's end in words, from its exit status as `Popen.returncode` has it."""
    if code == UNKNOWN:
        return "how is not known, the process that forked it is gone"
    return processes.how_ended(code)
