"""What the runner tells a worker reaches it, in whatever pieces."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mage_dbt.workers.control_channel import START, SWAP

WORKER = """
from mage_dbt.workers.control_channel import ControlChannel
control = ControlChannel()
control.wait_for_start()
print("started", flush=True)
print(control.wait_for_swap({seconds}), flush=True)
"""


@contextmanager
def worker(seconds: float) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """A process that starts and waits for the decision to swap, and the runner's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = [sys.executable, "-c", WORKER.format(seconds=seconds)]
        process = subprocess.Popen(words, stdin=theirs.fileno(), stdout=subprocess.PIPE, text=True)
        try:
            yield process, ours
        finally:
            process.kill()
            process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_worker_goes_on_when_somebody_decides_to_swap() -> None:
    with worker(60) as (process, runner):
        runner.sendall(START)
        assert line(process) == "started"
        for part in (SWAP[:2], SWAP[2:]):
            runner.sendall(part)
        assert line(process) == "True"


def test_a_worker_that_nobody_decides_for_waits_no_longer_than_it_may() -> None:
    with worker(0.05) as (process, runner):
        runner.sendall(START)
        assert line(process) == "started"
        assert line(process) == "False"
