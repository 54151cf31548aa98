"""Validators that are not Python's: kustomize, built with Go, and dclint, installed with npm."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.launcher.environments import ensure_tool
from mage_dbt.settings import CHECKOUT, Settings
from tests.harness.waiting import progress

KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"
"""What kubectl 1.35 has built in."""

NPM_FILES = ("package.json", "package-lock.json")

HERE = CHECKOUT / "tests" / "k8s"


def kustomize() -> Path:
    """The program; built when it is missing, in a minute of one core.

    Go's own packages are compiled already when oauth2-proxy was built, with the same options.
    """

    def build(folder: Path, run: Callable[[list[str]], str]) -> None:
        environ = [f"GOBIN={folder}", "CGO_ENABLED=0"]
        run(["env", *environ, found("go"), "install", "-trimpath", KUSTOMIZE])

    return _ensure("kustomize", [KUSTOMIZE], build) / "kustomize"


def dclint() -> Path:
    def install(folder: Path, run: Callable[[list[str]], str]) -> None:
        for name in NPM_FILES:
            shutil.copyfile(HERE / name, folder / name)
        run([found("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])

    text = [(HERE / name).read_text() for name in NPM_FILES]
    return _ensure("dclint", text, install) / "node_modules" / ".bin" / "dclint"


def found(program: str) -> str:
    """Raises MachineError when it is not on the PATH."""
    path = shutil.which(program)
    if path is None:
        raise MachineError(f"There is no {program} on the PATH.", "Install it to run this test.")
    return path


def _ensure(
    name: str, version: list[str], make: Callable[[Path, Callable[[list[str]], str]], None]
) -> Path:
    home = Home(Settings.load().workspace_home)
    return ensure_tool(home, name, version, make, progress())


def said_of(command: list[str], folder: Path = CHECKOUT, given: str = "") -> tuple[int, str]:
    """Exit status and everything a validator printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout
