"""Who last changed a model's file: git's answer, from the folder that git-sync keeps."""

from __future__ import annotations

import logging
import os
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

log = logging.getLogger(__name__)

GIT_SECONDS = 10.0


@dataclass(frozen=True)
class Change:
    """One commit that touched a file."""

    sha: str
    author: str
    at: datetime
    subject: str


def last_change(sync: Path, sha: str, path: str = "", subdir: str = ".") -> Change | None:
    """The last commit up to `sha` that touched `path`, which counts from `subdir`; the commit
    itself without `path`.

    None when git cannot say: no such file in its history (it belongs to a dbt package), no git, or
    a history that was cut off (a shallow clone's oldest commit seems to have written everything).
    """
    where = ["--", PurePosixPath(subdir, path).as_posix()] if path else []
    told = _git(sync, "log", "-1", "--format=%H%x00%an%x00%aI%x00%s%x00%P", sha, *where)
    parts = told.strip("\n").split("\0")
    if len(parts) != 5:
        return None
    found, author, at, subject, parents = parts
    if (
        path
        and not parents
        and _git(sync, "rev-parse", "--is-shallow-repository").strip() == "true"
    ):
        return None
    return Change(found, author, datetime.fromisoformat(at), subject)


def _git(sync: Path, *arguments: str) -> str:
    # git-sync may run as another user; without safe.directory git refuses its folder.
    command = ["git", "-C", str(sync / "current"), "-c", "safe.directory=*", *arguments]
    environ = dict(os.environ) | {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("git %s: %s", arguments[0], error)
        return ""
    return done.stdout if done.returncode == 0 else ""
