"""Git repositories with one of the small projects of `tests/projects` in them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PROJECTS = Path(__file__).parents[1] / "projects"


def git(folder: Path, *arguments: str) -> str:
    """What git prints, without the blanks around it."""
    identity = ("-c", "user.name=Kim", "-c", "user.email=kim@example.com")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def git_commit(repository: Path, message: str) -> str:
    """Commits all that has changed; gives the SHA."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(repository, "rev-parse", "HEAD")


def make_repository(folder: Path, project: str) -> Path:
    """A git repository on branch main with one of `tests/projects`."""
    shutil.copytree(PROJECTS / project, folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git_commit(folder, "Begin")
    return folder
