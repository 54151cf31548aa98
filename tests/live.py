"""A whole workspace for tests: the real `scripts/start`, in a home and on ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil

from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT, Settings
from mage_dbt.workspace import strays
from mage_dbt.workspace.progress import Progress, wait_for

START_SECONDS = 240.0
STOP_SECONDS = 20.0

T = TypeVar("T")


def wait_until(what: str, probe: Callable[[], T | str], seconds: float) -> T:
    """Waits until `probe` gives something other than text; text is what is still missing."""
    return wait_for(what, probe, seconds, Progress(psutil.Process().create_time()))


def command_line(process: psutil.Process) -> str:
    """Its words; empty where it has ended, as processes that were just listed often have."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses at this moment."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(one.getsockname()[1]) for one in listeners]
    for one in listeners:
        one.close()
    return found


def share_environments(home: Home) -> None:
    """Lets `home` use the environments that `scripts/test` has installed."""
    home.root.mkdir(parents=True, exist_ok=True)
    installed = Home(Settings.load().workspace_home).environments.resolve()
    home.environments.symlink_to(installed)


def copy_checkout(folder: Path) -> Path:
    """What a fresh clone has: the checkout's files without anything a workspace made."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (CHECKOUT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target)
    return folder


class LiveWorkspace:
    """One home, and the start that runs it."""

    def __init__(self, root: Path, checkout: Path = CHECKOUT, **environ: str) -> None:
        self.home = Home(root)
        self.checkout = checkout
        mage_port, runner_port, postgres_port = free_ports(3)
        plain = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(
                ("DBT_", "DAILY_BUILD_", "WORKSPACE_", "MAGE_", "RUNNER_", "LOGIN_")
            )
        }
        self.environ = {
            **plain,
            "WORKSPACE_HOME": str(root),
            "WORKSPACE_PYTHON": sys.executable,
            "DBT_METRIC_POLL_SECONDS": "0.5",
            "MAGE_PORT": str(mage_port),
            "RUNNER_PORT": str(runner_port),
            "POSTGRES_PORT": str(postgres_port),
            **environ,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.log = root.with_name(root.name + "-start.log")

    @property
    def settings(self) -> Settings:
        return Settings.load(self.environ, self.home.root / "no-such.env")

    @property
    def started(self) -> bool:
        return self._process is not None

    @property
    def process(self) -> psutil.Process:
        assert self._process is not None, "the workspace was not started"
        return psutil.Process(self._process.pid)

    def output(self) -> str:
        """What the last start has printed so far."""
        return self.log.read_text(errors="replace")

    def start(self, *arguments: str) -> None:
        """Starts it and does not wait."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(self.checkout / "scripts" / "start"), *arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_and_wait(self) -> None:
        """Starts it and waits until it stays: everything answers, and a first build is over."""
        self.start()
        self.wait_for_output("Ctrl-C stops everything")

    def wait_for_output(self, text: str, seconds: float = START_SECONDS) -> None:
        def probe() -> bool | str:
            said = self.output()
            if text in said:
                return True
            assert self._process and self._process.poll() is None, f"it ended:\n{self.output()}"
            return said.strip().splitlines()[-1] if said.strip() else "nothing is printed yet"

        wait_until(f"the start to print {text!r}", probe, seconds)

    def wait(self, seconds: float = START_SECONDS) -> int:
        """Waits for the start's end; gives its exit status."""
        process = self._process
        assert process is not None

        def probe() -> list[int] | str:
            status = process.poll()
            return (self.output().strip().splitlines() or [""])[-1] if status is None else [status]

        return wait_until("the start to end", probe, seconds)[0]

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Stops it; gives its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signum)
        return self.wait(STOP_SECONDS)

    def kept(self, name: str) -> dict[str, Any]:
        """What the start reports of one of its processes."""
        try:
            found = json.loads(self.home.processes.read_text())
        except FileNotFoundError:
            return {}
        return next((one for one in found if one["name"] == name), {})

    def keeper(self, name: str) -> psutil.Process:
        return psutil.Process(self.kept(name)["pid"])

    def child(self, name: str) -> psutil.Process:
        """The process itself, not its keeper."""
        keeper = self.keeper(name)

        def probe() -> psutil.Process | str:
            children = keeper.children()
            return children[0] if children else f"{name}'s keeper has no child"

        return wait_until(f"{name} to run", probe, 10)

    def wait_until_up(self, name: str, restarts: int) -> None:
        def probe() -> bool | str:
            now = self.kept(name)
            right = now.get("state") == "up" and now.get("restarts", -1) >= restarts
            return right or f"{name} is {now.get('state')}, {now.get('restarts')} restarts"

        wait_until(f"{name} to be up again", probe, 120)

    def survivors(self) -> list[psutil.Process]:
        """The workspace's processes that are running now."""
        return strays.find(self.home)

    def wait_until_nothing_runs(self, seconds: float = STOP_SECONDS) -> None:
        def probe() -> bool | str:
            left = [f"{one.pid} {command_line(one)}" for one in self.survivors()]
            return not left or ", ".join(left)

        wait_until("every process of the workspace to be gone", probe, seconds)
