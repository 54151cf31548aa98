"""The folders of runs: who works in which, and which are removed when there are many.

Whoever cleans up asks here what is in use: a folder has its owner before it is made, and a run that
is not over, of this runner or a dead one's, keeps its folder, in which dbt's last words may be.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from mage_dbt.worker import Job

log = logging.getLogger(__name__)

KEPT = 200
"""Folders of finished runs."""

PREVIEW = "plan-"
"""How the name of a folder begins that only a preview works in."""


class RunFolders:
    """Those in `runs`. Any method from any thread."""

    def __init__(self, runs: Path, going_on: Callable[[Collection[str]], set[str]]) -> None:
        """`going_on` says which of these runs are not over; it may raise when it cannot tell."""
        self._runs = runs
        self._going_on = going_on
        self._guard = threading.Lock()
        self._used: dict[Path, Path] = {}
        """By run's folder, its commit's."""

    def take(self, job: Job) -> None:
        """The job's folder, and its commit's, are in use from now on."""
        with self._guard:
            self._used[job.folder] = job.parsed.parent

    def leave(self, folder: Path) -> None:
        """Nobody works in it any more."""
        with self._guard:
            self._used.pop(folder, None)

    def commits(self) -> set[Path]:
        """The folders of commits that are in use."""
        with self._guard:
            return set(self._used.values())

    def remove(self, folder: Path) -> None:
        """Removes a folder that was taken, and that no run has come to need."""
        _remove(folder)
        self.leave(folder)

    def tidy(self) -> None:
        """Removes what previews have left, and all but the newest folders of runs that are over."""
        # Listed before it is asked who uses them: what comes in between is not in the list.
        names = sorted(one.name for one in self._runs.iterdir() if one.is_dir())
        left = [name for name in names if name.startswith(PREVIEW)]
        runs = [name for name in names if not name.startswith(PREVIEW)]
        if len(runs) > KEPT:
            used = self._going_on(runs)
            over = [name for name in runs if name not in used]
            left += over[: max(len(over) - KEPT, 0)]
        with self._guard:
            free = [name for name in left if self._runs / name not in self._used]
        for name in free:
            _remove(self._runs / name)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.warning("%s could not be removed", folder)
