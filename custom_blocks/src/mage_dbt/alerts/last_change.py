"""Who last changed a model's file, by git's history in the folder that git-sync keeps."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from mage_dbt.base.git import ANY_OWNER, Git
from mage_dbt.errors import Unavailable

log = logging.getLogger(__name__)

GIT_SECONDS = 10.0


@dataclass(frozen=True)
class Change:
    """A commit that touched a file."""

    sha: str
    author: str
    at: datetime
    subject: str


def last_change(sync: Path, sha: str, path: str = "", subdir: str = ".") -> Change | None:
    """The last commit up to `sha` that touched `path`, relative to `subdir`.

    Without `path` it is the commit itself. None when git cannot say: the file belongs to a dbt
    package, there is no git, or the history is cut off. A shallow clone's oldest commit seems to
    have written everything.
    """
    where = ["--", PurePosixPath(subdir, path).as_posix()] if path else []
    line = _git(sync, "log", "-1", "--format=%H%x00%an%x00%aI%x00%s%x00%P", sha, *where)
    parts = line.strip("\n").split("\0")
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
    environ = dict(os.environ) | {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = Git(sync / "current", (ANY_OWNER,), environ, GIT_SECONDS).run(*arguments)
    except (OSError, Unavailable) as error:
        log.warning("git %s: %s", arguments[0], error)
        return ""
    return done.stdout if done.returncode == 0 else ""
