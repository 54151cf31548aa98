"""The runner's side of a process that forks: a zygote or a fork server (`dbt/forks.py` is its own).

A message with three descriptors asks for a child. The answers say that one was forked, with its
pid and pidfd, and later how it ended.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import IO

from mage_dbt.commits.parser import ParserGone
from mage_dbt.workers.child_process import UNKNOWN, Forked, Process, how_ended

log = logging.getLogger(__name__)

LONGEST_MESSAGE = 131_072
"""Bytes. Linux accepts up to 208 KB on such a socket by default."""

FORK_SECONDS = 20.0
"""A fork takes 15 ms; a machine that swaps may need seconds. A slower process is killed."""


class ForkerGone(ParserGone):
    """No process that forks is available; the text says why."""


class Forker:
    """A process that forks. Any thread may call any method; `listen` needs its own thread."""

    def __init__(self, name: str, process: Process, connection: socket.socket) -> None:
        """`name` stands in the log; `connection` is the other end of its standard input."""
        self.name = name
        self._process = process
        self._socket = connection
        self._pidfd = process.pidfd()
        self._guard = threading.Lock()
        self._requests: deque[Future[Forked]] = deque()
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
            return len(self._children) + len(self._requests)

    def fork(
        self, message: bytes, descriptors: Sequence[int], seconds: float = FORK_SECONDS
    ) -> Forked:
        """Has it fork a child. Raises ForkerGone; a process slower than `seconds` is killed."""
        request: Future[Forked] = Future()
        with self._guard:
            if self._gone:
                raise ForkerGone(self._gone)
            self._requests.append(request)
            try:
                socket.send_fds(self._socket, [message], descriptors)
            except OSError as error:
                self._requests.remove(request)
                raise ForkerGone(f"it takes no more jobs: {error.strerror}") from None
        try:
            return request.result(seconds)
        except TimeoutError:
            request.cancel()
            self._process.kill()
            raise ForkerGone(f"it did not fork within {seconds:.0f} s") from None

    def close(self) -> None:
        """Lets it end. Its children go on."""
        with self._guard:
            self._gone = self._gone or "it is not needed any more"
        self._hang_up()

    def retire(self) -> None:
        """Has it fork no more, and end with its last child."""
        with self._guard:
            self._gone = self._gone or "another one has taken its place"
            self._retired = True
            idle = not self._requests and not self._children
        if idle:
            self._hang_up()

    def listen(self, output: IO[bytes]) -> str:
        """Takes its messages until it ends. Returns how it ended, with the last line of `output`.

        It watches the pidfd too: a child of the process may keep the socket open.
        """
        poller = select.poll()
        for descriptor in (self._socket.fileno(), self._pidfd):
            poller.register(descriptor, select.POLLIN)
        try:
            while self._socket.fileno() in dict(poller.poll()) and self._take_message():
                pass
        except Exception:  # no descriptor was left for a child, for example: it could not go on
            log.exception("%s", self.name)
            self._process.kill()
        os.close(self._pidfd)
        self._hang_up()
        code = self._process.wait()
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
        reason = " ".join([f"it ended ({how_ended(code)})", *lines[-1:]])
        with self._guard:
            self._gone = self._gone or reason
            requests, children = list(self._requests), list(self._children.values())
            self._requests.clear()
            self._children.clear()
            self._socket.close()
        for request in requests:
            if request.set_running_or_notify_cancel():
                request.set_exception(ForkerGone(self._gone))
        for child in children:
            child.set_code(UNKNOWN)
        log.info("%s: %s", self.name, self._gone)
        return reason

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _take_message(self) -> bool:
        """Takes one message; False at the end."""
        try:
            text, descriptors, _, _ = socket.recv_fds(
                self._socket, LONGEST_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return False
        if not text:
            return False
        message = json.loads(text)
        with self._guard:
            if "forked" in message:
                child = Forked(message["forked"], descriptors[0])
                request = self._requests.popleft()
                if request.set_running_or_notify_cancel():
                    self._children[child.pid] = child
                    request.set_result(child)
                else:
                    child.kill()  # nobody waits for it any more
            elif (ended := self._children.pop(message["ended"], None)) is not None:
                ended.set_code(message["code"])
            return not self._retired or bool(self._requests or self._children)
