"""Compose's stack in a container engine: only with `--engine`, because it needs one and minutes.

    ./scripts/test tests/engine --engine

It takes the ports 4180, 4181 and 4183 of this machine. docs/deployment.md says how it was run where
no image can be pulled.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mage_dbt.settings import CHECKOUT
from tests.conftest import not_run

PROJECT = "mage-dbt-engine-test"

BUILD_SECONDS = 3600
"""Both images from nothing on a busy machine: Mage's has 194 packages."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    wanted = config.getoption("--engine") or collection_path.name == "conftest.py"
    return None if wanted else True


@dataclass(frozen=True)
class Stack:
    """The services, as docs/deployment.md starts them to see them first."""

    folder: Path

    def compose(
        self, *arguments: str, given: str = "", seconds: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """A `docker compose` command of the page, with its exit status and output."""
        files = ("-f", "docker-compose.yml", "-f", "docker-compose.development.yml")
        return subprocess.run(
            ["docker", "compose", "--project-name", PROJECT, "--progress", "plain",
             "--env-file", "images/development.env", *files, *arguments],
            cwd=self.folder,
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
        )  # fmt: skip

    def done(self, *arguments: str, given: str = "", seconds: float = 300) -> str:
        """What it printed; fails when it failed."""
        done = self.compose(*arguments, given=given, seconds=seconds)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def inside(self, service: str, *command: str, given: str = "") -> str:
        """What a command prints in a service's container, as that container's user."""
        return self.done("exec", "--no-TTY", service, *command, given=given)

    def up(self) -> None:
        self.done("up", "--detach", "--wait", seconds=900)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if shutil.which("docker") is None:
        not_run("no docker here; install an engine and the Compose plugin")
    folder = tmp_path_factory.mktemp("engine") / "checkout"
    kept = shutil.ignore_patterns(".git", ".workspace", ".*_cache", "__pycache__", "secrets")
    shutil.copytree(CHECKOUT, folder, ignore=kept)
    subprocess.run(["./scripts/make-secrets"], cwd=folder, check=True)
    (folder / "secrets" / "identity-client-secret").write_text("development")
    it = Stack(folder)
    try:
        it.done("build", seconds=BUILD_SECONDS)
        it.up()
        yield it
    finally:
        it.done("--profile", "backup", "down", "--volumes", "--timeout", "20")
