"""Ports of loopback that belong to this test process until it ends.

Two test processes, or two test commands on one machine, never get the same port: each is reserved
by a lock on a file of its number. All lie below the ports that systems give to outgoing connections
(Linux: from 32768), so nothing else takes one by chance between its choice and its use.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 32_000

_reserved: dict[int, int] = {}
"""By port, the descriptor whose lock reserves it. Closed by the end of the process alone."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses and that nobody else who tests will be given.

    Raises RuntimeError when there are none left.
    """
    found: list[int] = []
    for port in random.sample(range(FIRST, LAST), LAST - FIRST):
        if len(found) == count:
            return found
        if _reserve(port):
            found.append(port)
    raise RuntimeError(f"No port from {FIRST} to {LAST} is free.")


def _reserve(port: int) -> bool:
    if port in _reserved:
        return False
    folder = Path(tempfile.gettempdir()) / f"mage-dbt-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / str(port), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError:  # another test's, or a program's that has nothing to do with tests
        os.close(descriptor)
        return False
    _reserved[port] = descriptor
    return True
