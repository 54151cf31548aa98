"""A whole workspace: the real `scripts/start`, in a home and on ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import psutil

from mage_dbt.home import Home
from mage_dbt.launcher import strays
from mage_dbt.model.run import Run
from mage_dbt.settings import CHECKOUT, Settings
from tests.harness import environments
from tests.harness.base import command_line
from tests.harness.pipelines import WithMage
from tests.harness.ports import free_ports
from tests.harness.repository import make_repository
from tests.harness.runs import WithRunner
from tests.harness.waiting import SECONDS, wait_until

START_SECONDS = 300.0

OURS = ("DBT_", "DAILY_BUILD_", "WORKSPACE_", "MAGE_", "RUNNER_", "LOGIN_")
"""Beginnings of settings: those of whoever runs the tests are not the test's."""


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


def midday_zone() -> str:
    """A zone in which it is about noon: neither midnight nor the daily build's 08:00 comes while
    tests run."""
    zones = ("Asia/Seoul", *sorted(name for name in available_timezones() if "/" in name))
    return next(name for name in zones if datetime.now(ZoneInfo(name)).hour == 12)


class Workspace(WithRunner, WithMage):
    """One home, and the start that runs it."""

    def __init__(self, root: Path, checkout: Path = CHECKOUT, **environ: str) -> None:
        """Not started; `environ` are settings."""
        self.home = Home(root)
        self.checkout = checkout
        self.repository = Path(environ.get("DBT_METRIC_REPO", ""))
        mage_port, runner_port, postgres_port = free_ports(3)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
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
        self.start_log = root.with_name(root.name + "-start.log")

    @classmethod
    def on_project(cls, folder: Path, project: str, **environ: str) -> Workspace:
        """On one of `tests/projects`, with the environments that are installed already."""
        repository = make_repository(folder / "repository", project)
        given = {"DBT_METRIC_REPO": str(repository), "DAILY_BUILD_TIMEZONE": midday_zone()}
        made = cls(folder / "home", CHECKOUT, **given | environ)
        environments.share(made.home)
        return made

    @property
    def settings(self) -> Settings:  # type: ignore[override]
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
        return self.start_log.read_text(errors="replace")

    def start(self, *arguments: str) -> None:
        """Starts it and does not wait."""
        with self.start_log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(self.checkout / "scripts" / "start"), *arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_and_wait(self, *arguments: str) -> None:
        """Starts it and waits until it stays: everything answers, and a first build is over."""
        self.start(*arguments)
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
        return self.wait(SECONDS)

    def kept(self, name: str) -> dict[str, Any]:
        """What the start reports of one of its processes."""
        try:
            found = json.loads(self.home.processes.read_text())
        except FileNotFoundError:
            return {}
        return next((one for one in found if one["name"] == name), {})

    def subreaper(self, name: str) -> psutil.Process:
        return psutil.Process(self.kept(name)["pid"])

    def child(self, name: str) -> psutil.Process:
        """The process itself, not its subreaper."""
        subreaper = self.subreaper(name)

        def probe() -> psutil.Process | str:
            children = subreaper.children()
            return children[0] if children else f"{name}'s subreaper has no child"

        return wait_until(f"{name} to run", probe)

    def kill_and_wait(self, name: str) -> None:
        """kill -9 of one of its processes; waits until another one answers."""
        restarts = int(self.kept(name)["restarts"])
        self.child(name).kill()
        self.wait_until_up(name, restarts + 1)

    def wait_until_up(self, name: str, restarts: int) -> None:
        def probe() -> bool | str:
            now = self.kept(name)
            right = now.get("state") == "up" and now.get("restarts", -1) >= restarts
            return right or f"{name} is {now.get('state')}, {now.get('restarts')} restarts"

        wait_until(f"{name} to be up again", probe)

    def survivors(self) -> list[psutil.Process]:
        """The workspace's processes that are running now."""
        return strays.find(self.home)

    def wait_until_nothing_runs(self) -> None:
        def probe() -> bool | str:
            left = [f"{one.pid} {command_line(one)}" for one in self.survivors()]
            return not left or ", ".join(left)

        wait_until("every process of the workspace to be gone", probe)

    def run_of(self, number: int) -> Run:
        """The newest run of a pipeline run, with its nodes."""

        def probe() -> Run | str:
            found = self.client.runs(limit=1, mage_run=number)
            if found:
                return self.client.run(found[0].id)
            return f"no run yet, Mage says {self.status(number)}"

        return wait_until(f"pipeline run {number} to have a run", probe)
