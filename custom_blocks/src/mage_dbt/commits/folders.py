"""The folders of commits on the disk: one for each commit and each way to parse it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

from mage_dbt.base import files
from mage_dbt.commits.profile import Profile
from mage_dbt.home import Home
from mage_dbt.model.commit import READY_FILE, Commit
from mage_dbt.model.graph import GRAPH_FILE
from mage_dbt.settings import Settings

FORMAT_VERSION = 7
"""Format version of a commit folder; other versions are rebuilt."""

TREE = "tree"
"""The folder in a commit's folder that holds its files."""

COMMIT_FOLDER = re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}")
"""The name of a commit's folder: of its SHA, and of the way to parse it."""

KEPT = 20
"""Commits kept on the disk, beside those that a run uses."""

JUST_PREPARED_SECONDS = 3600.0
"""How long a commit is kept at least since it was asked for, whether a run uses it or not."""


class Folders:
    """Names the folders of commits, locks them, and removes old ones."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._root = home.commits
        self._subdir = settings.dbt_metric_subdir
        # As installed when the runner started: another version means another environment.
        self._dbt = _dbt_versions()
        self._locks: dict[Path, threading.Lock] = {}
        self._guard = threading.Lock()

    def of(self, sha: str, profile: Profile) -> Path:
        """The folder of a commit as this dbt parses it with `profile`."""
        way = repr((FORMAT_VERSION, self._dbt, profile.fingerprint(), self._subdir))
        return self._root / f"{sha[:12]}-{hashlib.sha256(way.encode()).hexdigest()[:8]}"

    def all_of(self, sha: str) -> list[Path]:
        """The folders of a commit, by any dbt and profile, the one asked for last first."""
        found = [folder for folder in self._root.glob(f"{sha[:12]}-*") if folder.is_dir()]
        return sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)

    @contextmanager
    def alone_in(self, folder: Path) -> Iterator[None]:
        """Nobody else in this process makes or removes the commit in `folder` meanwhile."""
        with self._guard:
            lock = self._locks.setdefault(folder, threading.Lock())
        with lock:
            yield

    def prune(self, in_use: Callable[[], set[Path]]) -> None:
        """Removes all but the newest, those in use, and those that were just asked for."""
        folders = [path for path in self._root.iterdir() if path.is_dir()]
        folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        limit = time.time() - JUST_PREPARED_SECONDS
        for folder in folders[KEPT:]:
            with self.alone_in(folder):
                if folder not in in_use() and folder.stat().st_mtime < limit:
                    remove(folder)


def tree_of(path: Path) -> Path | None:
    """The tree of the commit in which `path` lies; None where that is no commit of a store."""
    resolved = path.resolve()
    above = [resolved, *resolved.parents]
    # The outermost: a commit may have folders of such names.
    return next(
        (
            folder
            for folder in reversed(above)
            if folder.name == TREE and COMMIT_FOLDER.fullmatch(folder.parent.name)
        ),
        None,
    )


def write_ready(commit: Commit) -> None:
    """Declares the commit in its folder ready; the last file that is written there."""
    files.replace_file(commit.folder / READY_FILE, json.dumps(commit.to_json()))


def write_graph(folder: Path, text: str) -> None:
    """Writes the graph of a commit into its folder; before it is declared ready."""
    files.replace_file(folder / GRAPH_FILE, text)


def close_to_writing(tree: Path) -> None:
    """Makes all files and folders of an export read-only."""
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def remove(folder: Path) -> None:
    """Removes a commit's folder, whose files and folders are read-only."""
    if not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    shutil.rmtree(folder)


def _dbt_versions() -> tuple[str, ...]:
    names = ((package.metadata["Name"] or "", package.version) for package in distributions())
    return tuple(sorted(f"{name}={version}" for name, version in names if name.startswith("dbt-")))
