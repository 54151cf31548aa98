"""oauth2-proxy, built from its Go module with the ordinary Go client, once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.workspace.environments import ensure_tool
from mage_dbt.workspace.progress import Progress

NAME = "oauth2-proxy"
MODULE = "github.com/oauth2-proxy/oauth2-proxy/v7"

VERSION = "v7.15.6"
"""Pinned: the configuration files in oauth2-proxy/ are of a form that changes between releases."""

GO = "1.26"
"""What this version's go.mod asks for."""


def ensure(home: Home, progress: Progress) -> Path:
    """The program's path; built when it is missing, about two minutes of one core.

    Go checks the module and all it needs against its public checksum database.
    Raises MachineError when there is no Go, or it cannot build it.
    """
    return ensure_tool(home, NAME, [VERSION], _build, progress) / NAME


def path(home: Home) -> Path:
    """Where `ensure` put it."""
    return (home.environments / NAME).resolve() / NAME


def _build(folder: Path, run: Callable[[list[str]], str]) -> None:
    go = shutil.which("go")
    if go is None:
        raise MachineError(
            f"oauth2-proxy is built from its Go module, and there is no Go on the PATH ({GO} or "
            "newer).",
            "Install it from https://go.dev/dl or the system's package manager.",
        )
    stamp = f"-s -w -X {MODULE}/pkg/version.VERSION={VERSION}"
    environ = [f"GOBIN={folder}", "CGO_ENABLED=0"]
    build = [go, "install", "-trimpath", "-ldflags", stamp, f"{MODULE}@{VERSION}"]
    run(["env", *environ, *build])
