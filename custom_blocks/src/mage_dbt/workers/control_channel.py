"""The control channel: what the runner tells a worker, over the socket on its standard input.

START is the run's turn. SWAP is the decision for which a refresh may wait. LEASE brings a
descriptor: the database session of the run's lease. The worker keeps it open and never uses it, so
the lease lasts as long as the worker.
When the socket ends, the runner is dead. Then nobody could judge or cancel the run, so the worker
ends itself.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

START = b"start\n"
LEASE = b"lease\n"
SWAP = b"swap\n"

END_SECONDS = 3.0
"""From the interrupt, on which dbt cancels its queries, until the process exits in any case."""


class ControlChannel(threading.Thread):
    """The worker's side. Listens as soon as it is made."""

    def __init__(self) -> None:
        super().__init__(name="control channel", daemon=True)
        self._socket = socket.socket(fileno=os.dup(0))
        self._leases: list[int] = []
        self._start = threading.Event()
        self._swap = threading.Event()
        self.start()

    def wait_for_start(self) -> None:
        """Returns at the run's turn. When the runner ends first, the process ends here."""
        self._start.wait()

    def wait_for_swap(self, seconds: float) -> bool:
        """Returns True when somebody has decided to swap, False after `seconds` without that."""
        return self._swap.wait(seconds)

    def run(self) -> None:
        received = b""
        while True:
            message, descriptors, _, _ = socket.recv_fds(
                self._socket, 4096, 8, socket.MSG_CMSG_CLOEXEC
            )
            self._leases += descriptors
            if not message:
                break
            received += message
            if START in received:
                self._start.set()
            if SWAP in received:
                self._swap.set()
        if self._start.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(END_SECONDS)
        os._exit(1)
