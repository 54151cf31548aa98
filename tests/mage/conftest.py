"""A whole Mage of a test's own, and the Python of Mage's environment."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mage_dbt.errors import Unavailable
from mage_dbt.home import Home
from mage_dbt.mage import probe, process, project
from mage_dbt.mage.api import MageApi
from mage_dbt.settings import CHECKOUT, Settings
from mage_dbt.workspace.environments import MAGE, python_of
from mage_dbt.workspace.secret_files import read_or_make
from tests.live import command_line, free_ports, wait_until

START_SECONDS = 180.0
PIPELINE_SECONDS = 90.0
ENDED = ("completed", "failed", "cancelled")


@pytest.fixture(scope="session")
def mage_python() -> Path:
    """The Python of Mage's environment, patched."""
    return python_of(Home(Settings.load().workspace_home), MAGE)


@dataclass
class LiveMage:
    """Mage, without a runner, on a project made from the template."""

    settings: Settings
    home: Home
    python: Path
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def on(cls, root: Path, python: Path, **environ: str) -> LiveMage:
        """A project installed in `root`, not started; `environ` are settings."""
        given = {"WORKSPACE_HOME": str(root), "MAGE_PORT": str(free_ports(1)[0]), **environ}
        live = cls(Settings.load(given, file=root / "no.env"), Home(root), python)
        for secret in (live.home.runner_to_mage_secret, live.home.mage_jwt_secret):
            read_or_make(secret)
        project.install(live.settings, live.home)
        return live

    def start(self) -> None:
        self.home.logs.mkdir(parents=True, exist_ok=True)
        log = (self.home.logs / "mage.log").open("ab")
        self.process = subprocess.Popen(
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
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    @property
    def environ(self) -> dict[str, str]:
        return {
            **self.settings.as_environment(),
            **process.environment(self.settings, self.home, f"sqlite:///{self.home.root}/mage.db"),
            "HOME": str(self.home.root),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT / "custom_blocks" / "src"),
        }

    def api(self) -> MageApi:
        return MageApi(self.settings, self.home)

    def add_pipeline(self, name: str, code: str) -> None:
        """A pipeline of one Python block, with our API trigger."""
        folder = self.home.mage_project / "pipelines" / name
        folder.mkdir(parents=True)
        (folder / "metadata.yaml").write_text(
            f"name: {name}\nuuid: {name}\ntype: python\nblocks:\n"
            f"- {{uuid: {name}, name: {name}, type: custom, language: python, "
            "upstream_blocks: [], downstream_blocks: []}\n"
        )
        (folder / "triggers.yaml").write_text(
            f"triggers:\n- {{name: {project.API_TRIGGER}, schedule_type: api, status: active, "
            f"schedule_interval: null, start_time: null, "
            f"token: {self.home.mage_trigger_token.read_text()}}}\n"
        )
        (self.home.mage_project / "custom" / f"{name}.py").write_text(code)

    def run(self, pipeline: str, **variables: object) -> int:
        """Starts a pipeline, once Mage knows its trigger."""
        with self.api() as api:

            def started() -> int | str:
                try:
                    return api.fire(api.api_trigger(pipeline), variables)
                except Unavailable as error:
                    return str(error)

            return wait_until(f"the trigger of {pipeline}", started, PIPELINE_SECONDS)

    def ended(self, number: int) -> str:
        """The final status of a pipeline run."""
        with self.api() as api:

            def final() -> list[str] | str:
                status = str(api.pipeline_run(number)["status"])
                return [status] if status in ENDED else f"pipeline run {number} is {status}"

            return wait_until(f"pipeline run {number}", final, PIPELINE_SECONDS)[0]

    def _missing(self) -> bool | str:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError((self.home.logs / "mage.log").read_text()[-3000:])
        return probe.missing(self.settings, self.home) or True


@pytest.fixture(scope="module")
def mage(mage_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMage]:
    root = tmp_path_factory.mktemp("mage")
    live = LiveMage.on(root, mage_python)
    live.start()
    yield live
    live.stop()
    left = [one.pid for one in psutil.process_iter() if str(root) in command_line(one)]
    assert not left, f"left behind: {left}"
