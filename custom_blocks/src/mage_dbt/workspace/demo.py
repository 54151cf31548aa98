"""The demo dbt-metric as a real git repository, made once; from then on it is its people's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT

SOURCE = CHECKOUT / "dbt" / "dbt-metric"
RAW_DATA = CHECKOUT / "dbt" / "demo_warehouse" / "raw.sql"

LEFT_BEHIND = shutil.ignore_patterns("target", "dbt_packages", "logs", "__pycache__")

# Always the same, so that the demo's first commit has the same SHA everywhere.
AUTHOR = {"NAME": "dbt-metric demo", "EMAIL": "demo@example.com", "DATE": "2026-10-01T00:00:00Z"}


def make_repository(home: Home) -> bool:
    """Makes the demo repository, branch main with one commit; says whether it was missing."""
    if home.demo_repository.exists():
        return False
    aside = home.demo_repository.with_name(home.demo_repository.name + ".new")
    if aside.exists():
        shutil.rmtree(aside)
    shutil.copytree(SOURCE, aside, ignore=LEFT_BEHIND)
    _git(aside, "init", "--quiet", "--initial-branch=main")
    # So that a commit works at once on a machine whose git does not know its user yet.
    _git(aside, "config", "user.name", AUTHOR["NAME"])
    _git(aside, "config", "user.email", AUTHOR["EMAIL"])
    _git(aside, "add", "--all")
    _git(aside, "commit", "--quiet", "--no-verify", "--message", "The demo dbt-metric")
    aside.rename(home.demo_repository)
    return True


def _git(folder: Path, *arguments: str) -> None:
    identity = {
        f"GIT_{role}_{name}": value
        for role in ("AUTHOR", "COMMITTER")
        for name, value in AUTHOR.items()
    }
    # A person's own configuration may sign commits, run hooks or change line ends.
    plain = ["-c", "commit.gpgSign=false", "-c", "core.hooksPath=/dev/null"]
    plain += ["-c", "core.autocrlf=false", "-c", "core.excludesFile=/dev/null"]
    done = subprocess.run(
        ["git", *plain, *arguments],
        cwd=folder,
        env={**os.environ, **identity, "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise MachineError(f"git {arguments[0]} failed in {folder}: {done.stderr.strip()}")
