"""The runner's side of a process that forks others for it (`worker.forks` is the other one)."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import IO, Protocol

from mage_dbt.worker.child import UNKNOWN, Child, how_ended

log = logging.getLogger(__name__)

MODULE = "mage_dbt.worker.dbt_process"

LONGEST_MESSAGE = 131_072
"""Bytes; Linux takes messages of up to 208 KB on such a socket unless it is told otherwise."""

FORK_SECONDS = 20.0
"""A fork takes 15 ms; a machine that swaps may need seconds. A process that is slower is ended."""

STATUS_SECONDS = 2.0
"""From a child's end until its parent has told how it ended, or never will."""

ROOM_FOR_COMMAND = " " * 600
"""The last argument of a process that forks: its children write their own command line over all of
them."""


class ParentGone(Exception):
    """A process that forks cannot be had; the text says why."""


class Process(Child, Protocol):
    """A process of ours, whether it was forked or executed."""

    def kill(self) -> None: ...

    def pidfd(self) -> int:
        """A descriptor that is readable once the process has ended; the caller closes it."""


class Executed(subprocess.Popen[bytes]):
    """See `Process`."""

    def pidfd(self) -> int:
        return os.pidfd_open(self.pid)


class Forked:
    """A process that a process of ours forked; see `Process`.

    The pidfd tells of its end even when its parent is gone; only then nobody knows its status.
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
        """Raises subprocess.TimeoutExpired when it has not ended by then."""
        if not self._over(timeout):
            raise subprocess.TimeoutExpired(f"process {self._pid}", timeout or 0)
        try:
            return self._code.result(STATUS_SECONDS)
        except TimeoutError:
            self.tell(UNKNOWN)
            return self._code.result()

    def tell(self, code: int) -> None:
        """Its exit status, as far as it is known; only the first time counts."""
        with suppress(InvalidStateError):
            self._code.set_result(code)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _over(self, seconds: float | None) -> bool:
        watch = select.poll()
        watch.register(self._pidfd, select.POLLIN)
        return bool(watch.poll(None if seconds is None else seconds * 1000))


class Forker:
    """One process that forks. Any method from any thread; `hear` from one of its own."""

    def __init__(self, name: str, process: Process, connection: socket.socket) -> None:
        """`name` is what the log calls it; `connection` the other end of its standard input."""
        self.name = name
        self._process = process
        self._socket = connection
        self._end = process.pidfd()
        self._guard = threading.Lock()
        self._asked: deque[Future[Forked]] = deque()
        self._children: dict[int, Forked] = {}
        self._retired = False
        self._gone = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> str:
        """Why it forks no more, or empty."""
        return self._gone

    @property
    def children(self) -> int:
        """How many of its children are alive."""
        with self._guard:
            return len(self._children) + len(self._asked)

    def fork(
        self, message: bytes, descriptors: Sequence[int], seconds: float = FORK_SECONDS
    ) -> Forked:
        """A child. Raises ParentGone; a process that takes longer than `seconds` is killed."""
        answer: Future[Forked] = Future()
        with self._guard:
            if self._gone:
                raise ParentGone(self._gone)
            self._asked.append(answer)
            try:
                socket.send_fds(self._socket, [message], descriptors)
            except OSError as error:
                self._asked.remove(answer)
                raise ParentGone(f"it takes no more jobs: {error.strerror}") from None
        try:
            return answer.result(seconds)
        except TimeoutError:
            answer.cancel()
            self._process.kill()
            raise ParentGone(f"it did not fork within {seconds:.0f} s") from None

    def close(self) -> None:
        """Lets it end; its children, if there are any, go on."""
        with self._guard:
            self._gone = self._gone or "it is not needed any more"
        self._hang_up()

    def retire(self) -> None:
        """It forks no more, and ends with its last child."""
        with self._guard:
            self._gone = self._gone or "another one has taken its place"
            self._retired = True
            idle = not self._asked and not self._children
        if idle:
            self._hang_up()

    def hear(self, output: IO[bytes]) -> str:
        """Returns when the process has ended: how, with its last words from `output`.

        The end is not left to be seen by the socket alone.
        """
        watch = select.poll()
        for descriptor in (self._socket.fileno(), self._end):
            watch.register(descriptor, select.POLLIN)
        try:
            while self._socket.fileno() in dict(watch.poll()) and self._hear_one():
                pass
        except Exception:  # no descriptor was left for a child's, say: it could not go on
            log.exception("%s", self.name)
            self._process.kill()
        os.close(self._end)
        self._hang_up()
        code = self._process.wait()
        output.seek(0)
        words = output.read().decode(errors="replace").strip().splitlines()
        reason = " ".join([f"it ended ({how_ended(code)})", *words[-1:]])
        with self._guard:
            self._gone = self._gone or reason
            asked, children = list(self._asked), list(self._children.values())
            self._asked.clear()
            self._children.clear()
            self._socket.close()
        for answer in asked:
            if answer.set_running_or_notify_cancel():
                answer.set_exception(ParentGone(self._gone))
        for child in children:
            child.tell(UNKNOWN)
        log.info("%s: %s", self.name, self._gone)
        return reason

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _hear_one(self) -> bool:
        """Takes one message; False at the end."""
        try:
            text, given, _, _ = socket.recv_fds(
                self._socket, LONGEST_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return False
        if not text:
            return False
        heard = json.loads(text)
        with self._guard:
            if "forked" in heard:
                child = Forked(heard["forked"], given[0])
                asked = self._asked.popleft()
                if asked.set_running_or_notify_cancel():
                    self._children[child.pid] = child
                    asked.set_result(child)
                else:
                    child.kill()  # nobody waits for it any more
            elif (ended := self._children.pop(heard["ended"], None)) is not None:
                ended.tell(heard["code"])
            return not self._retired or bool(self._asked or self._children)
