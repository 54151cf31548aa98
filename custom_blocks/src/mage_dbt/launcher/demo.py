"""The demo dbt-metric as a git repository, created once. From then on it belongs to its users."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mage_dbt.base.files import new_folder
from mage_dbt.base.git import Git, reason
from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT

SOURCE = CHECKOUT / "dbt" / "dbt-metric"
RAW_DATA = CHECKOUT / "dbt" / "demo_warehouse" / "raw.sql"

LEFT_BEHIND = shutil.ignore_patterns("target", "dbt_packages", "logs", "__pycache__")

# Always the same, so that the demo's first commit has the same SHA everywhere.
AUTHOR = {"NAME": "dbt-metric demo", "EMAIL": "demo@example.com", "DATE": "2026-10-01T00:00:00Z"}


def make_repository(home: Home) -> bool:
    """Creates the demo repository, branch main with one commit, unless it is there.

    Returns whether it did. Raises MachineError with git's message.
    """
    if home.demo_repository.exists():
        return False
    with new_folder(home.demo_repository) as aside:
        shutil.copytree(SOURCE, aside, ignore=LEFT_BEHIND, dirs_exist_ok=True)
        _git(aside, "init", "--quiet", "--initial-branch=main")
        # So that a commit works at once on a machine whose git does not know its user yet.
        _git(aside, "config", "user.name", AUTHOR["NAME"])
        _git(aside, "config", "user.email", AUTHOR["EMAIL"])
        _git(aside, "add", "--all")
        _git(aside, "commit", "--quiet", "--no-verify", "--message", "The demo dbt-metric")
    return True


def _git(folder: Path, *arguments: str) -> None:
    identity = {
        f"GIT_{role}_{name}": value
        for role in ("AUTHOR", "COMMITTER")
        for name, value in AUTHOR.items()
    }
    # The user's own configuration may sign commits, run hooks or change line ends.
    plain = (
        *("commit.gpgSign=false", "core.hooksPath=/dev/null"),
        *("core.autocrlf=false", "core.excludesFile=/dev/null"),
    )
    environ = {**os.environ, **identity, "GIT_TERMINAL_PROMPT": "0"}
    done = Git(folder, plain, environ).run(*arguments)
    if done.returncode:
        raise MachineError(f"git {arguments[0]} failed in {folder}: {reason(done)}")
