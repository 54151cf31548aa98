"""What the runner tells a worker, over the socket that is the worker's standard input.

`start` is the one word. With a message may come the descriptor of the session that holds the run's
lock in PostgreSQL: the worker keeps it open and never uses it, so that the lock lives as long as
the worker does. When the socket ends, the runner is dead, and the worker ends itself: nobody could
judge the run, cancel it, or would wait for it.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

START = b"start\n"
HOLD = b"hold\n"

END_SECONDS = 3.0
"""From the interrupt, upon which dbt cancels its queries, until the process leaves anyhow."""


class Orders(threading.Thread):
    """Listens from its making on."""

    def __init__(self) -> None:
        super().__init__(name="orders", daemon=True)
        self._socket = socket.socket(fileno=os.dup(0))
        self._held: list[int] = []
        self._start = threading.Event()
        self.start()

    def wait_for_start(self) -> None:
        """Returns when the run has its turn; with the runner's end the process ends instead."""
        self._start.wait()

    def run(self) -> None:
        heard = b""
        while True:
            words, held, _, _ = socket.recv_fds(self._socket, 4096, 8, socket.MSG_CMSG_CLOEXEC)
            self._held += held
            if not words:
                break
            heard += words
            if START in heard:
                self._start.set()
        if self._start.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(END_SECONDS)
        os._exit(1)
