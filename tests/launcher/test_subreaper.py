"""The subreaper, with small programs in place of Mage and PostgreSQL."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mage_dbt.base.processes import wait_until_ended
from mage_dbt.launcher.subreaper import Launch
from tests.harness.waiting import SECONDS, wait_until

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
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
while not os.path.exists("end"):
    time.sleep(0.05)
sys.exit(7)
"""


class Started:
    def __init__(self, folder: Path, program: str, grace: float = 2.0) -> None:
        launch = Launch([sys.executable, "-c", program], str(folder), grace=grace)
        self._folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mage_dbt.launcher.subreaper", launch.as_argument()],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def end_parent(self) -> None:
        (self._folder / "end").touch()

    def grandchild(self) -> psutil.Process:
        """The process that has written its number."""
        file = self._folder / "child"

        def probe() -> list[int] | str:
            text = file.read_text() if file.exists() else ""
            return [int(text)] if text else "it is not started"

        return psutil.Process(wait_until("the grandchild to start", probe)[0])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[type[Started]]:
    started: list[Started] = []

    class Here(Started):
        def __init__(self, program: str, grace: float = 2.0) -> None:
            super().__init__(tmp_path, program, grace)
            started.append(self)

    yield Here
    for subreaper in started:
        subreaper.process.kill()
        subreaper.process.wait()


def ends(process: psutil.Process) -> bool:
    return not wait_until_ended([process], SECONDS)


def test_a_child_in_another_session_ends_with_its_parent(start: type) -> None:
    subreaper = start(PARENT.format(child=SLEEPER))
    grandchild = subreaper.grandchild()
    subreaper.end_parent()
    assert subreaper.process.wait(SECONDS) == 7
    assert ends(grandchild)


def test_everything_ends_when_the_supervisor_is_gone(start: type) -> None:
    subreaper = start(PARENT.format(child=SLEEPER))
    grandchild = subreaper.grandchild()
    subreaper.process.stdin.close()
    subreaper.process.wait(SECONDS)
    assert ends(grandchild)


def test_a_child_that_ignores_sigterm_is_killed(start: type) -> None:
    subreaper = start(PARENT.format(child=STUBBORN))
    grandchild = subreaper.grandchild()
    subreaper.process.terminate()
    subreaper.process.wait(SECONDS)
    assert ends(grandchild)


def test_a_second_signal_does_not_wait_for_the_grace(start: type) -> None:
    subreaper = start(STUBBORN, grace=600)
    subreaper.grandchild()
    subreaper.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        subreaper.process.wait(0.5)
    subreaper.process.send_signal(signal.SIGINT)
    subreaper.process.wait(SECONDS)


def test_the_status_is_the_childs(start: type) -> None:
    assert start("import sys; sys.exit(3)").process.wait(SECONDS) == 3
    killed = start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.process.wait(SECONDS) == 128 + signal.SIGKILL


def test_a_command_that_cannot_start_says_so(tmp_path: Path) -> None:
    launch = Launch([str(tmp_path / "missing")], str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "mage_dbt.launcher.subreaper", launch.as_argument()],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 127
    assert "Cannot start" in done.stderr
