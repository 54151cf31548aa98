"""The graphs of commits, read from their folders; the last few stay in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from mage_dbt.model.commit import READY_FILE
from mage_dbt.model.graph import GRAPH_FILE, Graph

KEPT = 2
"""Graphs in memory: mostly those of the live commit and of the one before."""


class Graphs:
    """Reads graphs. Any method from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: dict[tuple[Path, int], Graph] = {}
        """By folder and the file's time: a commit is described again when its environment changes.
        The one that was asked for last is the last."""

    def first_of(self, folders: Iterable[Path]) -> Graph | None:
        """The graph in the first of these folders that has one."""
        with self._guard:  # held while one is read: who waits wants the same one
            for folder in folders:
                try:
                    if (folder / READY_FILE).stat().st_size:
                        return self._in(folder)
                except (OSError, ValueError, KeyError):  # removed meanwhile, or of another version
                    continue
        return None

    def _in(self, folder: Path) -> Graph:
        key = (folder, (folder / GRAPH_FILE).stat().st_mtime_ns)
        graph = self._kept.pop(key, None) or Graph.read(folder)
        self._kept[key] = graph
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return graph
