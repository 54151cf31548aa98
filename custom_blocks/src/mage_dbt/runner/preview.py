"""What a plan has that is only for the one who looks at it: times, and what a commit differs in.

Pure but for the ledger's medians; a run is never held up by any of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mage_dbt.commit import Commit
from mage_dbt.history import History
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import SeenPlan
from mage_dbt.lists import short_list
from mage_dbt.plan import Differs, Plan, PlannedNode

MOST_NAMED = 10
"""Names in one sentence on a difference; more are counted."""


def with_estimates(plan: Plan, ledger: Ledger) -> Plan:
    """The plan with the time each node took lately, and what they take together."""
    known = ledger.estimates(
        [one.node for one in plan.nodes],
        [one.node for one in plan.nodes if one.materialized == "incremental"],
        plan.target,
        "--full-refresh" in plan.flags,
    )
    nodes = tuple(replace(one, estimated_seconds=known.get(one.node)) for one in plan.nodes)
    return replace(
        plan,
        nodes=nodes,
        estimated_seconds=total_seconds(nodes, plan.threads) if known else None,
    )


def total_seconds(nodes: Sequence[PlannedNode], threads: int) -> float:
    """Seconds from the first start to the last end when dbt runs `threads` nodes at once.

    Nodes start in the plan's order, each as soon as a thread is free and what it reads is done; a
    model also waits for the tests of what it reads, as `dbt build` does. A node without an estimate
    counts as no time, and dbt's own start is not in it: so this is the least it takes.
    """
    seconds = [one.estimated_seconds or 0.0 for one in nodes]
    place = {one.node: number for number, one in enumerate(nodes)}
    waits = _waits(nodes)
    left = [len(waits[one.node]) for one in nodes]
    after: dict[int, list[int]] = {}
    for one in nodes:
        for before in waits[one.node]:
            after.setdefault(place[before], []).append(place[one.node])
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


def _waits(nodes: Sequence[PlannedNode]) -> dict[str, set[str]]:
    planned = {one.node for one in nodes}
    reads = {one.node: planned.intersection(one.depends_on) for one in nodes}
    tests: dict[str, list[PlannedNode]] = {}
    for one in nodes:
        if one.type in ("test", "unit_test") and len(one.depends_on) == 1:
            tests.setdefault(one.depends_on[0], []).append(one)
    waits = {}
    for one in nodes:
        before = set(reads[one.node])
        if one.type not in ("test", "unit_test"):
            before |= {test.node for up in reads[one.node] for test in tests.get(up, ())}
        waits[one.node] = before
    return waits


def differs(commit: Commit, newest: Commit | None, history: History) -> Differs | None:
    """What `commit` differs in from the newest ready one, by its models' files."""
    if newest is None or commit.sha == newest.sha:
        return None
    here = {one.name: one.checksum for one in commit.models}
    there = {one.name: one.checksum for one in newest.models}
    return Differs(
        newest=newest.sha,
        behind=history.distance(commit.sha, newest.sha),
        changed=tuple(sorted(one for one in here.keys() & there if here[one] != there[one])),
        only_here=tuple(sorted(here.keys() - there)),
        only_in_newest=tuple(sorted(there.keys() - here)),
    )


def difference(seen: SeenPlan, plan: Plan) -> str:
    """In words, how the plan that was seen is no longer the one that would run."""
    now = {one.node: one.name for one in plan.nodes}
    parts = []
    if seen.commit != plan.commit:
        parts.append(f"another commit ({seen.commit[:7]} -> {plan.commit[:7]})")
    if came := [now[one] for one in now if one not in seen.nodes]:
        parts.append(f"nodes added: {short_list(came, MOST_NAMED)}")
    if gone := [seen.nodes[one] for one in seen.nodes if one not in now]:
        parts.append(f"nodes gone: {short_list(gone, MOST_NAMED)}")
    for name, value in plan.what().items():
        if (before := seen.what.get(name)) != value:
            parts.append(f"other {name} ({_plain(before)} -> {_plain(value)})")
    return "; ".join(parts) or "the same nodes in another order"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={one}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return " ".join(str(one) for one in value) or "none"
    return str(value) or "none"
