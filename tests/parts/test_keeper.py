"""The keeper, with small programs in place of Mage and PostgreSQL."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mage_dbt.processes import wait_until_ended
from mage_dbt.workspace.keeper import Order
from tests.harness.waiting import wait_until

SLEEPER = """
import os, time
open("child", "w").write(str(os.getpid()))
time.sleep(600)
"""
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("child", "w").write(str(os.getpid()))
time.sleep(600)
"""

# Its child is in a session of its own, as Mage's kernels are.
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
time.sleep({seconds})
sys.exit(7)
"""


class Kept:
    def __init__(self, folder: Path, program: str, grace: float = 2.0) -> None:
        order = Order([sys.executable, "-c", program], str(folder), grace=grace)
        self._folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mage_dbt.workspace.keeper", order.as_argument()],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def grandchild(self) -> psutil.Process:
        """The process that has written its number."""
        file = self._folder / "child"

        def probe() -> list[int] | str:
            text = file.read_text() if file.exists() else ""
            return [int(text)] if text else "it is not started"

        return psutil.Process(wait_until("the grandchild to start", probe, 20)[0])


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[type[Kept]]:
    started: list[Kept] = []

    class Here(Kept):
        def __init__(self, program: str, grace: float = 2.0) -> None:
            super().__init__(tmp_path, program, grace)
            started.append(self)

    yield Here
    for one in started:
        one.process.kill()
        one.process.wait()


def ends(process: psutil.Process, seconds: float = 10) -> bool:
    return not wait_until_ended([process], seconds)


def test_a_child_in_another_session_ends_with_its_parent(keep: type) -> None:
    kept = keep(PARENT.format(child=SLEEPER, seconds=3))
    grandchild = kept.grandchild()
    assert kept.process.wait(20) == 7
    assert ends(grandchild, 1)


def test_everything_ends_when_the_supervisor_is_gone(keep: type) -> None:
    kept = keep(PARENT.format(child=SLEEPER, seconds=600))
    grandchild = kept.grandchild()
    kept.process.stdin.close()
    kept.process.wait(20)
    assert ends(grandchild, 1)


def test_a_child_that_ignores_sigterm_is_killed(keep: type) -> None:
    kept = keep(PARENT.format(child=STUBBORN, seconds=600))
    grandchild = kept.grandchild()
    kept.process.terminate()
    kept.process.wait(20)
    assert ends(grandchild, 1)


def test_a_second_signal_does_not_wait_for_the_grace(keep: type) -> None:
    kept = keep(STUBBORN, grace=60)
    kept.grandchild()
    began = time.monotonic()
    kept.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        kept.process.wait(0.5)
    kept.process.send_signal(signal.SIGINT)
    kept.process.wait(20)
    assert time.monotonic() - began < 20


def test_the_status_is_the_childs(keep: type) -> None:
    assert keep("import sys; sys.exit(3)").process.wait(20) == 3
    killed = keep("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.process.wait(20) == 128 + signal.SIGKILL


def test_a_command_that_cannot_start_says_so(tmp_path: Path) -> None:
    order = Order([str(tmp_path / "missing")], str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "mage_dbt.workspace.keeper", order.as_argument()],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 127
    assert "Cannot start" in done.stderr
