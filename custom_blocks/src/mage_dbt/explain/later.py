"""What later runs made of a run's failures: what has passed since, what is gone, what was seen
before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from mage_dbt.commits.store import Commits
from mage_dbt.explain.causes import LOOKED_INTO
from mage_dbt.explain.evidence import Evidence, roles_of
from mage_dbt.explain.known import AGAIN, Known
from mage_dbt.explain.seen import MOST as MOST_SEEN
from mage_dbt.explain.seen import seen
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.failures import FailureLedger, Pass
from mage_dbt.ledger.ledger import EVENTS_AT_ONCE
from mage_dbt.model.explanation import Seen

OVERLAP = 4 * EVENTS_AT_ONCE
"""Events that are looked at twice: several transactions may become visible late."""

MOST_REPAIRS = 1_000
"""Repairs in memory."""


@dataclass(frozen=True)
class Later:
    """What later runs made of a run's failures, as of a state of the ledger."""

    event: int
    """The last one that was there."""
    state: tuple[str, int]
    """The live commit, and how many nodes had not passed."""
    at: datetime
    """When all passes were read."""
    passes: Mapping[str, Pass]
    over: set[str]
    """Nodes that have passed since, or that are not there any more."""
    seen: Mapping[str, tuple[tuple[Seen, ...], int]]
    gone: frozenset[str] = frozenset()
    """Those of them that are not there any more, and have not passed since."""


class LaterRuns:
    """Finds out what later runs made of the runs of one ledger. Any method from any thread."""

    def __init__(
        self, ledger: Ledger, commits: Commits, evidence: Evidence, now: Callable[[], datetime]
    ) -> None:
        self._failures = FailureLedger(ledger)
        self._commits = commits
        self._evidence = evidence
        self._now = now
        self._kept: dict[str, Later] = {}
        self._repairs: dict[tuple[str, str, str], tuple[str, str, str] | None] = {}

    def of(self, known: Known) -> Later:
        """What later runs did; of what has happened since the last look only the passes are looked
        up."""
        run, now = known.run, self._now()
        event, live = self._failures.newest_event(), self._commits.live
        state = (live.sha if live else "", len(known.ended))
        last = self._kept.get(run.id)
        changed = None
        if last and last.state[1] == len(known.ended) and now - last.at <= AGAIN:
            changed = self._passed_after(last, event, known)
            if changed == set() and last.state == state:
                last = self._kept[run.id] = replace(last, event=event)
                return last
        if last is None or changed is None:
            at, passes = now, self._failures.last_passes(list(known.ended), run.target)
        else:
            news = self._failures.last_passes(list(changed), run.target)
            at, passes = last.at, {**last.passes, **news}
        repaired = {node for node, passed in passes.items() if passed.at > known.ended[node]}
        gone = frozenset(self._gone(known) - repaired)
        later = self._kept[run.id] = Later(
            event, state, at, passes, repaired | gone, self._seen(known), gone
        )
        return later

    def forget(self, run: str) -> None:
        """Drops what was kept of a run."""
        self._kept.pop(run, None)

    def _passed_after(self, last: Later, event: int, known: Known) -> set[str] | None:
        """The nodes that may have passed since; None when any may."""
        if event == last.event:
            return set()
        # Events become visible in another order than that of their numbers.
        nodes = self._failures.passed_after(last.event - OVERLAP)
        return None if nodes is None else nodes & known.ended.keys()

    def _gone(self, known: Known) -> set[str]:
        """Nodes that the live commit does not hold any more: nothing can run them."""
        live = self._commits.live
        if live is None or known.run.request.variables or live.target != known.run.target:
            return set()
        there = {node.node for node in live.nodes if node.enabled}
        return {
            node for node in known.ended if node not in there and not node.startswith("operation.")
        }

    def _seen(self, known: Known) -> dict[str, tuple[tuple[Seen, ...], int]]:
        """By a cause's first node, earlier failures of its kind, and how many there were."""
        signatures = {
            cause.nodes[0].node: cause.signature
            for cause in known.causes[:LOOKED_INTO]
            if cause.nodes and cause.signature
        }
        first = min(known.ended.values(), default=known.run.asked_at)
        earlier = self._failures.earlier(
            signatures, known.run.id, known.run.target, first, MOST_SEEN
        )
        live = self._commits.live
        there = {node.node for node in live.nodes if node.enabled} if live else None

        def exists(node: str) -> bool:
            return there is None or node in there

        def repair(node: str, old: str, new: str) -> tuple[str, str, str] | None:
            return self._repair(known.run.commit, node, old, new)

        return {
            node: (seen(failures, repair, exists), failures[0].total)
            for node, failures in earlier.items()
        }

    def _repair(self, commit: str, node: str, old: str, new: str) -> tuple[str, str, str] | None:
        key = (node, old, new)
        with suppress(KeyError):  # another thread may clear it at any time
            return self._repairs[key]
        graph = self._evidence.graph(commit)
        files = self._evidence.changed(old, new, roles_of(graph, node)) if graph else None
        last = files[0] if files else None
        found = (last.commit, last.subject, last.author) if last else None
        if len(self._repairs) > MOST_REPAIRS:
            self._repairs.clear()
        self._repairs[key] = found
        return found
