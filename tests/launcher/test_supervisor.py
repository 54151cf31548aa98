"""The supervisor, with small programs in place of the workspace's."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mage_dbt.base.processes import ended
from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.launcher import strays, supervisor
from mage_dbt.launcher.progress import Progress
from mage_dbt.launcher.subreaper import Launch
from mage_dbt.launcher.supervisor import Liveness, Program, Supervisor
from tests.harness.waiting import SECONDS, wait_until

TALKER = """
import pathlib, time
pathlib.Path("pid").write_text("1")
for number in range(100_000):
    print("line", number, flush=True)
    time.sleep(0.01)
"""

PROGRAM = """
import os, pathlib, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path("pid").write_text(str(os.getpid()))
time.sleep(600)
"""


ANSWERING = """
import os, pathlib, socket, time
if pathlib.Path("late").exists():
    time.sleep(7)
pathlib.Path("door").unlink(missing_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind("door")
listener.listen()
pathlib.Path("pid").write_text(str(os.getpid()))
while True:
    connection, _ = listener.accept()
    if pathlib.Path("slow").exists():
        time.sleep(0.6)
    with pathlib.Path("answered").open("a") as answered:
        answered.write(".")
    try:
        connection.sendall(b".")
    except OSError:  # nobody waits any more
        pass
    connection.close()
"""


class Workspace:
    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.home.logs.mkdir(parents=True)
        self.supervisor = Supervisor(self.home, Progress(0))

    def start(self, name: str = "thing", code: str = PROGRAM, patience: float = SECONDS) -> None:
        file = self.home.root / "pid"
        self.supervisor.start(
            Program(
                name=name,
                launch=Launch([sys.executable, "-c", code], str(self.home.root), grace=2),
                environment={"PATH": os.environ["PATH"]},
                probe=lambda: "" if file.exists() else "it has not written its number",
                patience=patience,
            )
        )

    def start_answering(self, silence: float) -> None:
        """Starts a program that answers, is asked for 0.2 s, and hangs after so much silence."""
        self.supervisor.start(
            Program(
                name="thing",
                launch=Launch([sys.executable, "-c", ANSWERING], str(self.home.root), grace=0.5),
                environment={"PATH": os.environ["PATH"]},
                probe=lambda: "" if self.answers(0.2) else "no answer within 0.2 s",
                liveness=Liveness(self.answers, silence),
            )
        )
        self.supervisor.wait("thing")

    def answers(self, seconds: float) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            try:
                connection.connect(str(self.home.root / "door"))
                return connection.recv(1) == b"."
            except OSError:
                return False

    def state(self) -> dict[str, object]:
        return dict(json.loads(self.home.processes.read_text())[0])

    def pid(self) -> int:
        return int((self.home.root / "pid").read_text())

    def wait_for_another(self, pid: int) -> None:
        def probe() -> bool | str:
            state, text = self.state(), (self.home.root / "pid").read_text()
            return (state["state"] == "up" and text not in ("", str(pid))) or f"{state} {text}"

        wait_until("the process to be started again", probe)

    def running(self) -> list[psutil.Process]:
        return strays.find(self.home)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path / "home")
    yield made
    made.supervisor.stop([["thing"]])
    assert made.running() == []


def test_a_log_that_grows_too_long_is_cut_while_its_process_writes_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LARGEST_LOG", 400)
    monkeypatch.setattr(supervisor, "PROBE_SECONDS", 0.1)
    workspace.start(code=TALKER)
    log = workspace.home.logs / "thing.log"
    aside = workspace.home.logs / "thing.log.1"
    wait_until("the log to be cut", lambda: aside.exists() or "it is whole")
    # What was read is looked at: the log is cut again and again.
    written = wait_until("more to be written", lambda: log.read_bytes() or "nothing is")
    assert isinstance(written, bytes) and b"line" in written and b"\0" not in written


def test_a_process_that_died_is_started_again(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.start()
    workspace.supervisor.wait("thing")
    first = workspace.pid()
    os.kill(first, signal.SIGKILL)
    workspace.wait_for_another(first)
    assert workspace.state()["restarts"] == 1
    assert "thing ended (killed by SIGKILL); starting it again in 1 s" in capsys.readouterr().out


def test_a_process_that_hangs_is_ended_and_started_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "PROBE_SECONDS", 0.1)
    workspace.start_answering(silence=3)
    first = workspace.pid()
    os.kill(first, signal.SIGSTOP)  # its port is open, and nothing comes
    workspace.wait_for_another(first)
    said = capsys.readouterr().out
    assert "thing has answered nothing for 3 s (no answer within 0.2 s); it is ended" in said
    assert "thing ended (killed by SIGKILL); starting it again in 1 s" in said
    assert not psutil.pid_exists(first) and workspace.state()["restarts"] == 1


def test_a_process_that_is_slow_or_starting_is_left_alone(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "PROBE_SECONDS", 0.1)
    workspace.start_answering(silence=5)
    root, first = workspace.home.root, workspace.pid()
    (root / "slow").touch()
    before = (root / "answered").stat().st_size

    def slowly() -> bool | str:
        answered = (root / "answered").stat().st_size - before
        return answered >= 12 or f"{answered} answers, {workspace.state()}"

    wait_until("12 late answers", slowly)
    assert workspace.state()["state"] == "not answering"
    (root / "slow").unlink()
    wait_until("it to be up", lambda: workspace.state()["state"] == "up" or "it is not")
    assert (workspace.pid(), workspace.state()["restarts"]) == (first, 0)
    (root / "late").touch()  # it starts for longer than a hung one is given
    os.kill(first, signal.SIGKILL)
    workspace.wait_for_another(first)
    assert workspace.state()["restarts"] == 1
    assert "answered nothing" not in capsys.readouterr().out


def test_what_a_killed_subreaper_leaves_is_ended_before_it_starts_again(
    workspace: Workspace,
) -> None:
    workspace.start()
    workspace.supervisor.wait("thing")
    first = workspace.pid()
    before = workspace.running()
    os.kill(int(str(workspace.state()["pid"])), signal.SIGKILL)
    workspace.wait_for_another(first)
    assert [one for one in before if not ended(one)] == []
    assert len(workspace.running()) == len(before)


def test_a_process_that_never_answers_is_an_error_with_the_end_of_its_log(
    workspace: Workspace,
) -> None:
    workspace.start(code="print('no such database'); raise SystemExit(1)")
    with pytest.raises(MachineError, match="thing did not start") as caught:
        workspace.supervisor.wait("thing")
    assert "thing.log" in str(caught.value)
    assert "no such database" in str(caught.value)


def test_patience_ends_with_what_was_last_seen(workspace: Workspace) -> None:
    workspace.start(code="import time; time.sleep(600)", patience=1)
    with pytest.raises(MachineError, match="it has not written its number"):
        workspace.supervisor.wait("thing")


def test_stop_leaves_nothing_and_takes_the_report_away(workspace: Workspace) -> None:
    workspace.start()
    workspace.supervisor.wait("thing")
    workspace.supervisor.stop([["thing"]])
    assert workspace.running() == []
    assert not workspace.home.processes.exists()


def test_a_log_that_grew_too_long_is_put_aside(workspace: Workspace) -> None:
    log = workspace.home.logs / "thing.log"
    with log.open("wb") as file:
        file.truncate(20_000_001)
    workspace.start(code="print('begin', flush=True)\n" + PROGRAM)
    workspace.supervisor.wait("thing")
    assert log.read_text().startswith("begin")
    assert (workspace.home.logs / "thing.log.1").stat().st_size == 20_000_001
