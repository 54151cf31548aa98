"""When each node of a run was built, in which lane, and which chain of them decided the time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from typing import NamedTuple

from mage_dbt.model.folded import TESTS
from mage_dbt.model.run import PASSED


class Bar(NamedTuple):
    """A node that was executed. Times are seconds since the epoch."""

    node: str
    name: str
    type: str
    status: str
    begun: float
    ended: float
    lane: int = 0
    """From 0. dbt does not say which thread had a node, so this is the first free one."""

    @property
    def seconds(self) -> float:
        return self.ended - self.begun

    @property
    def failed(self) -> bool:
        return self.status not in PASSED


@dataclass(frozen=True)
class Timeline:
    """The executed nodes of a run, by their start."""

    bars: tuple[Bar, ...] = ()
    critical: tuple[Bar, ...] = ()
    """The longest chain of nodes that waited for each other, in order: with any number of threads
    the run takes as long as these."""
    lanes: int = 0
    """The most nodes at once."""
    critical_nodes: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def begun(self) -> float:
        return self.bars[0].begun if self.bars else 0.0

    @cached_property
    def ended(self) -> float:
        return max((bar.ended for bar in self.bars), default=0.0)

    @property
    def critical_seconds(self) -> float:
        return sum(bar.seconds for bar in self.critical)

    @property
    def slowest(self) -> Bar | None:
        """The node of the critical path that took longest."""
        return max(self.critical, key=lambda bar: bar.seconds, default=None)

    @cached_property
    def at_once(self) -> float:
        """How many nodes were built at once in the mean, from the first start to the last end."""
        whole = self.ended - self.begun
        return sum(bar.seconds for bar in self.bars) / whole if whole > 0 else 0.0

    @classmethod
    def of(cls, bars: Iterable[Bar], reads: Mapping[str, Sequence[str]]) -> Timeline:
        """Puts the bars into lanes and finds the critical path; `reads` has what each node reads,
        by unique id."""
        placed, lanes = _in_lanes(sorted(bars, key=lambda bar: bar.begun))
        critical = critical_path(placed, reads)
        return cls(placed, critical, lanes, frozenset(bar.node for bar in critical))


def _in_lanes(bars: Sequence[Bar]) -> tuple[tuple[Bar, ...], int]:
    """Each bar in the lowest lane that is free when it begins; and how many lanes there are."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    lanes = 0
    placed = []
    for bar in bars:
        while busy and busy[0][0] <= bar.begun:
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        else:
            lane, lanes = lanes, lanes + 1
        heappush(busy, (bar.ended, lane))
        placed.append(bar._replace(lane=lane) if lane else bar)
    return tuple(placed), lanes


def critical_path(bars: Sequence[Bar], reads: Mapping[str, Sequence[str]]) -> tuple[Bar, ...]:
    """The chain of nodes with the longest time in all, in which each had waited for the one before.

    A node waits for what it reads. In a build it waits for the tests of what it reads as well: for
    those that had ended when it began. `bars` are in the order of their starts.
    """
    tests: defaultdict[str, list[str]] = defaultdict(list)
    for bar in bars:
        if bar.type in TESTS:
            for read in reads.get(bar.node, ()):
                tests[read].append(bar.node)
    known: dict[str, tuple[float, Bar, str]] = {}
    last, longest = "", 0.0
    for bar in bars:
        best, before = 0.0, ""
        for read in reads.get(bar.node, ()):
            waits_for = [read] if bar.type in TESTS else [read, *tests.get(read, ())]
            for node in waits_for:
                found = known.get(node)
                if found and found[0] > best and found[1].ended <= bar.begun:
                    best, before = found[0], node
        total = best + bar.seconds
        known[bar.node] = (total, bar, before)
        if total > longest:
            last, longest = bar.node, total
    path = []
    while last:
        _, bar, last = known[last]
        path.append(bar)
    return tuple(reversed(path))
