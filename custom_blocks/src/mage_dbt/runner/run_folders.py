"""The folders of runs: which are in use, and which are removed when there are many.

A folder is taken before it is made. A run that is not over keeps its folder, whichever runner owned
it, because dbt's last events may be in it.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from mage_dbt.workers.job import Job

log = logging.getLogger(__name__)

KEPT = 200
"""Folders of finished runs."""

PREVIEW = "plan-"
"""Prefix of the folder of a preview."""


class RunFolders:
    """The folders in `runs`. Any method from any thread."""

    def __init__(self, runs: Path, going_on: Callable[[Collection[str]], set[str]]) -> None:
        """`going_on` says which of some runs are not over; it may raise when it cannot tell."""
        self._runs = runs
        self._going_on = going_on
        self._guard = threading.Lock()
        self._used: dict[Path, Path] = {}
        """The commit's folder by the run's."""

    def take(self, job: Job) -> None:
        """The job's folder, and its commit's, are in use from now on."""
        with self._guard:
            self._used[job.folder] = job.parsed.parent

    def release(self, folder: Path) -> None:
        """The folder is no longer in use."""
        with self._guard:
            self._used.pop(folder, None)

    def commits(self) -> set[Path]:
        """The folders of commits that are in use."""
        with self._guard:
            return set(self._used.values())

    def remove(self, folder: Path) -> None:
        """Removes a folder that was taken and that no run needs."""
        _remove(folder)
        self.release(folder)

    def tidy(self) -> None:
        """Removes folders of previews, and all but the KEPT newest of runs that are over."""
        # Listed before asking which are in use: a folder that comes in between is not in the list.
        names = sorted(folder.name for folder in self._runs.iterdir() if folder.is_dir())
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
