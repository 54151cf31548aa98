"""Explains runs: what is known of a failure, with what later runs made of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from mage_dbt.commits.store import Commits
from mage_dbt.explain.evidence import Evidence
from mage_dbt.explain.known import Known, KnownMaker
from mage_dbt.explain.later import Later, LaterRuns
from mage_dbt.explain.stale import stale
from mage_dbt.explain.whole import WholeTimes
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.failures import FailureLedger
from mage_dbt.model import counts
from mage_dbt.model.deadline import Deadline
from mage_dbt.model.explanation import Cause, Explanation, Seen
from mage_dbt.model.failure import FailureClass
from mage_dbt.model.plain_words import waits_for_refresh
from mage_dbt.settings import Settings

FAILS_AGAIN = (FailureClass.CODE, FailureClass.DATA)
"""Classes of which a rerun on the same commit passes only when somebody has done something."""

KEPT = 32
"""Runs of which what is known stays in memory."""


class Explainer:
    """Explains the runs of one ledger. Any method from any thread."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        ledger: Ledger,
        commits: Commits,
        deadline: Callable[[], Deadline],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`deadline` returns by when the daily build should be over."""
        self._ledger = ledger
        self._failures = FailureLedger(ledger)
        self._commits = commits
        self._deadline = deadline
        self._now = now
        evidence = Evidence(settings, home, ledger, commits)
        self._maker = KnownMaker(ledger, commits, evidence, now)
        self._later = LaterRuns(ledger, commits, evidence, now)
        self._whole = WholeTimes(ledger, now)
        self._guard = threading.Lock()
        self._known: OrderedDict[tuple[str, int], Known] = OrderedDict()

    def explain(self, run: str) -> Explanation:
        """Why the run failed; no causes for a run that passed, or has no failure yet.

        Raises NotFound, and LedgerUnreachable.
        """
        return self._as_it_stands(self._what_is_known(run))

    def _what_is_known(self, run_id: str) -> Known:
        kept = self._kept((run_id, -1))
        if kept is not None:
            return kept
        run = self._ledger.head(run_id)
        # Of a run that goes on there may be more failures next time.
        number = -1 if run.state.final else self._failures.count_not_passed(run_id)
        key = (run_id, number)
        known = self._kept(key) or self._maker.of(run)
        with self._guard:
            self._known[key] = known
            while len(self._known) > KEPT:
                (gone, _), _ = self._known.popitem(last=False)
                self._later.forget(gone)
                self._whole.forget(gone)
        return known

    def _kept(self, key: tuple[str, int]) -> Known | None:
        with self._guard:
            known = self._known.get(key)
            if known is None or (known.until and known.until < self._now()):
                return None
            self._known.move_to_end(key)
            return known

    def _as_it_stands(self, known: Known) -> Explanation:
        over_by = None
        if known.morning:
            over_by = self._deadline().over_at(date.fromisoformat(known.morning))
        if not known.causes or known.unchanged:
            unchanged = known.unchanged
            return Explanation(known.run.id, known.causes, 0, None, over_by, unchanged=unchanged)
        later = self._later.of(known)
        causes = tuple(
            replace(
                cause,
                nodes=tuple(
                    replace(node, gone=True) if node.node in later.gone else node
                    for node in cause.nodes
                ),
                refresh="" if cause.refresh in later.over else cause.refresh,
                seen=_seen_of(cause, later)[0],
                seen_total=_seen_of(cause, later)[1],
                stale=stale(
                    (*group.failed, *group.skipped), later.passes, later.over, known.exposures
                ),
            )
            for cause, group in zip(known.causes, known.groups, strict=True)
        )
        ended = frozenset(
            result.node
            for group in known.groups
            for result in (*group.failed, *group.skipped)
            if counts.counts(result.kind)
        )
        left = ended - later.over
        seconds = self._whole.seconds(known, left)
        whole = None
        if seconds is not None and not self._fails_again(known, left):
            whole = self._now() + timedelta(seconds=seconds)
        return Explanation(
            known.run.id,
            causes,
            len(left),
            whole,
            over_by,
            len(ended & later.gone),
            rerun_seconds=seconds,
        )

    def _fails_again(self, known: Known, left: Collection[str]) -> bool:
        """Whether a rerun of what is left fails again as long as nobody changes anything."""
        live = self._commits.live
        same = live is not None and live.sha == known.run.commit and not self._commits.preparing
        return any(
            waits_for_refresh(cause) or (same and cause.failure_class in FAILS_AGAIN)
            for cause in known.causes
            if any(node.node in left for node in cause.nodes)
        )


def _seen_of(cause: Cause, later: Later) -> tuple[tuple[Seen, ...], int]:
    return later.seen.get(cause.nodes[0].node, ((), 0)) if cause.nodes else ((), 0)
