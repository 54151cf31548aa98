"""How long a plan takes, by the seconds that its nodes take."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from mage_dbt.model.folded import TESTS
from mage_dbt.model.plan import PlannedNode


def total_seconds(nodes: Sequence[PlannedNode], threads: int) -> float:
    """Seconds from the first start to the last end when dbt runs `threads` nodes at once.

    Nodes start in the plan's order, each as soon as a thread is free and what it reads is done. A
    model also waits for the tests of what it reads, as `dbt build` does. A node without an estimate
    counts as 0 s, and dbt's own start is not counted, so this is a lower bound.
    """
    seconds = [node.estimated_seconds or 0.0 for node in nodes]
    waits = _waits(nodes)
    left = [len(before) for before in waits]
    after: dict[int, list[int]] = {}
    for number, before in enumerate(waits):
        for earlier in before:
            after.setdefault(earlier, []).append(number)
    now = 0.0
    ready = [number for number, count in enumerate(left) if not count]
    running: list[tuple[float, int]] = []
    while ready or running:
        while ready and len(running) < threads:
            number = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[number], number))
        now, ended = heapq.heappop(running)
        for number in after.get(ended, ()):
            left[number] -= 1
            if not left[number]:
                heapq.heappush(ready, number)
    return round(now, 1)


def _waits(nodes: Sequence[PlannedNode]) -> list[set[int]]:
    """For each node those that it waits for; all by their places in the plan."""
    places = {node.node: place for place, node in enumerate(nodes)}
    reads = [{places[up] for up in node.depends_on if up in places} for node in nodes]
    tests: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        if node.type in TESTS and len(node.depends_on) == 1:
            for up in reads[place]:
                tests.setdefault(up, []).append(place)
    return [
        before if node.type in TESTS else before.union(*(tests.get(up, ()) for up in before))
        for node, before in zip(nodes, reads, strict=True)
    ]
