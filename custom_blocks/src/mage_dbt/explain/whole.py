"""How long a rerun of what is left of a run takes: then everything would be whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from mage_dbt.explain.known import AGAIN, Known
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.failures import PlannedNodes
from mage_dbt.model.estimate import total_seconds
from mage_dbt.model.folded import TESTS


@dataclass(frozen=True)
class _Estimates:
    """How long nodes take, by what was known at a time."""

    at: datetime
    asked: frozenset[str]
    seconds: Mapping[str, float]


class WholeTimes:
    """Of the runs of one ledger. Any method from any thread."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._now = now
        self._kept: dict[str, _Estimates] = {}

    def seconds(self, known: Known, left: Collection[str]) -> float | None:
        """How long a rerun of the nodes that are left takes; None where nothing tells."""
        if not left:
            return None
        now = self._now()
        again = runs_again(left, known.planned)
        last = self._kept.get(known.run.id)
        if last is None or now - last.at > AGAIN or not again <= last.asked:
            seconds = self._estimates(again, known.planned, known.run.target)
            last = self._kept[known.run.id] = _Estimates(now, again, seconds)
        return rerun_seconds(again, known.planned, last.seconds)

    def forget(self, run: str) -> None:
        """Drops what was kept of a run."""
        self._kept.pop(run, None)

    def _estimates(
        self, again: Collection[str], planned: PlannedNodes, target: str
    ) -> Mapping[str, float]:
        """By node, the seconds that it took lately."""
        nodes = [planned.nodes[name] for name in again]
        incremental = [node.node for node in nodes if node.may_have_batches]
        return self._ledger.estimates([node.node for node in nodes], incremental, target, False)


def runs_again(left: Collection[str], planned: PlannedNodes) -> frozenset[str]:
    """What a rerun of what is left runs: with a failed test its models, as of a build."""
    wanted = set(left)
    for node in left:
        if node in planned.nodes and planned.nodes[node].type in TESTS:
            tested = planned.nodes[node].depends_on
            wanted.update(up for up in tested if up in planned.nodes)
    return frozenset(wanted & planned.nodes.keys())


def rerun_seconds(
    again: Collection[str], planned: PlannedNodes, known: Mapping[str, float]
) -> float | None:
    """Seconds of a run of these nodes; None where none of them has ever passed."""
    timed = [
        replace(node, estimated_seconds=known.get(name))
        for name, node in planned.nodes.items()
        if name in again
    ]
    if not any(node.node in known for node in timed):
        return None
    return total_seconds(timed, planned.threads)
