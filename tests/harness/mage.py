"""A whole Mage of a test's own, without a runner, on a project made from the template."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.home import Home
from mage_dbt.launcher.environments import MAGE
from mage_dbt.mage import process, project
from mage_dbt.settings import CHECKOUT, Settings
from tests.harness import environments
from tests.harness.base import command_line
from tests.harness.pipelines import WithMage
from tests.harness.ports import free_ports
from tests.harness.waiting import wait_until

START_SECONDS = 300.0


class Mage(WithMage):
    """Mage on SQLite, in a home of its own."""

    def __init__(self, root: Path, **environ: str) -> None:
        """A project installed in `root`, not started; `environ` are settings."""
        given = {"WORKSPACE_HOME": str(root), "MAGE_PORT": str(free_ports(1)[0]), **environ}
        self.settings = Settings.load(given, file=root / "no.env")
        self.home = Home(root)
        self.python = environments.python(MAGE)
        self._process: subprocess.Popen[bytes] | None = None
        for secret in (self.home.runner_to_mage_secret, self.home.mage_jwt_secret):
            read_or_make(secret)
        project.install(self.settings, self.home)

    def start(self) -> None:
        self.home.logs.mkdir(parents=True, exist_ok=True)
        log = (self.home.logs / "mage.log").open("ab")
        self._process = subprocess.Popen(
            process.command(self.python, self.settings, self.home),
            env=self.environ,
            cwd=self.home.root,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        wait_until("Mage", self._missing, START_SECONDS)

    def stop(self) -> None:
        """Kills the whole session: Mage leaves its children behind."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def environ(self) -> dict[str, str]:
        return {
            **self.settings.as_environment(),
            **process.environment(self.settings, self.home, f"sqlite:///{self.home.root}/mage.db"),
            "HOME": str(self.home.root),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT / "custom_blocks" / "src"),
        }

    def _missing(self) -> bool | str:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(self.log("mage")[-3000:])
        return process.problem(self.settings, self.home) or True


@contextmanager
def started(root: Path, **environ: str) -> Iterator[Mage]:
    """A Mage that is up for as long as the block lasts, and of which nothing is left then."""
    mage = Mage(root, **environ)
    try:
        mage.start()
        yield mage
    finally:
        mage.stop()

    def gone() -> bool | str:
        left = [one.pid for one in psutil.process_iter() if str(root) in command_line(one)]
        return not left or f"left behind: {left}"

    wait_until("every process of Mage to be gone", gone)  # one that is killed takes its time
