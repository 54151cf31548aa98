"""A process in which dbt runs, with the runner's ends of what it hears and says.

However it comes to be, executed or forked by another, it has three descriptors: a socket as its
standard input, a pipe on which it answers, and a file for the rest.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mage_dbt.worker.forker import MODULE, Executed, Process

# -P: nothing is imported from the folder a process is started in, which differs.
COMMAND = (sys.executable, "-P", "-m", MODULE)


@dataclass(frozen=True)
class Started:
    process: Process
    connection: socket.socket
    """The other end of its standard input. It keeps messages apart."""
    answer: IO[str]

    @classmethod
    def by(cls, begin: Callable[[Sequence[int]], Process], output: IO[bytes]) -> Started:
        """Has `begin` start a process with descriptors of its own; what else it says goes to
        `output`. Raises what `begin` does."""
        connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        try:
            with theirs:
                process = begin([theirs.fileno(), writing, output.fileno()])
        except BaseException:
            connection.close()  # with which a child ends that nobody heard of
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
        """A new process that imports dbt, in `folder`; `words` say what it does (see
        `worker.dbt_process`). Raises OSError."""

        def begin(given: Sequence[int]) -> Process:
            orders, answer, log = given
            return Executed(
                [*COMMAND, *words],
                stdin=orders,
                stdout=answer,
                stderr=log,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )

        return cls.by(begin, output)
