"""What processes use: CPU seconds of a whole tree, and memory as PSS.

PSS (proportional set size) counts a page that several processes share once, divided among them:
the sum over all processes is what the machine really holds. RSS would count a forked worker's
inherited pages again for each.
"""

from __future__ import annotations

import os
import resource
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SAMPLE_SECONDS = 2.0
"""Between two looks at the memory: reading PSS of forty processes takes a tenth of a second."""


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that descends from it now."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def tree_cpu(pid: int) -> float:
    """CPU seconds so far of a process and its descendants, ended ones included.

    An ended process counts for the one that waited for it. A subreaper waits for all it adopts.
    """
    total = 0.0
    for one in tree(pid):
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def children_cpu() -> float:
    """CPU seconds so far of this process's children that have ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    """Megabytes (10^6 bytes) that these processes hold together."""
    return sum(_pss(one.pid) for one in processes) / 1e6


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended, or is somebody else's
        return 0
    found = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return int(found[0]) * 1024 if found else 0


class PeakMemory:
    """Samples the PSS of groups of processes while its block runs; `peak` is when their sum was
    the largest."""

    def __init__(self, groups: Callable[[], Mapping[str, list[psutil.Process]]]) -> None:
        self._groups = groups
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak: dict[str, float] = {}

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            now = memory(self._groups())
            if now["all"] > self.peak.get("all", 0.0):
                self.peak = now
            if self._over.wait(SAMPLE_SECONDS):
                return


def memory(groups: Mapping[str, list[psutil.Process]]) -> dict[str, float]:
    """Megabytes by group, and of `all`."""
    found = {name: round(pss_mb(processes), 1) for name, processes in groups.items()}
    return found | {"all": round(sum(found.values()), 1)}


@dataclass(frozen=True)
class Moment:
    """What the machine has used so far; two of them tell what ran beside a measurement."""

    busy: float
    ours: float
    by_process: Mapping[tuple[int, str], float]

    @classmethod
    def now(cls) -> Moment:
        total = psutil.cpu_times()
        busy = sum(total) - total.idle - total.iowait - total.guest - total.guest_nice
        ours = {one.pid for one in tree(os.getpid())}
        others: dict[tuple[int, str], float] = {}
        for one in psutil.process_iter(["pid", "name", "cpu_times"]):
            times = one.info["cpu_times"]
            if times is not None and one.info["pid"] not in ours:
                others[one.info["pid"], one.info["name"]] = times.user + times.system
        return cls(busy, tree_cpu(os.getpid()), others)

    def since(self, before: Moment) -> dict[str, Any]:
        """CPU seconds of everything but the bench since `before`, and the largest by name.

        Names only: a command line may show what is nobody's business. Processes that began and
        ended in between are in the sum and have no name.
        """
        names: defaultdict[str, float] = defaultdict(float)
        for (pid, name), seconds in self.by_process.items():
            names[name] += seconds - before.by_process.get((pid, name), 0.0)
        largest = sorted(names.items(), key=lambda one: -one[1])[:5]
        return {
            "others_cpu_s": round(max(0.0, self.busy - before.busy - self.ours + before.ours), 1),
            "largest": {name: round(seconds, 1) for name, seconds in largest if seconds >= 1},
        }
