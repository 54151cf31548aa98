"""Open failures: a failure has an alert once until something changes, and once when it recovers.

A failure belongs to a request whose run failed. When the same request fails at the same nodes
again, that is the same failure, whoever asks; so is a rerun. It recovers when the request or a
rerun succeeds, or when everything that did not pass has passed in other runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from mage_dbt.errors import RequestError
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.alerts import AlertLedger, OpenFailure
from mage_dbt.model.run import PASSED, Run, RunState


class OpenFailures:
    """The open failures in one ledger, each as it stood when a run ended."""

    def __init__(self, ledger: Ledger, alerts: AlertLedger) -> None:
        self._ledger = ledger
        self._alerts = alerts

    def same_as(self, run: Run, root: Run, has_channels: bool) -> Run | None:
        """The run of the open failure that `run` repeats: same request, same failed nodes.

        `root` is the run that `run` goes back to. None when `run` brings something new. An alert
        that went to no channel does not count when there are channels now.
        """
        for failure in self._alerts.open_failures(_ended(run)):
            if failure.same_request(root) and (failure.had_channels or not has_channels):
                earlier = self._ledger.run(failure.run)
                return earlier if failed_nodes(earlier) == failed_nodes(run) else None
        return None

    def recovered_by(self, run: Run, root: Run) -> Iterator[tuple[Run, str]]:
        """The run of each failure that `run` recovers, and how, in words."""
        for failure in self._alerts.open_failures(_ended(run)):
            same = failure.same_request(root)
            if same and run.state is RunState.SUCCESS and self._is_older(failure, root):
                yield self._ledger.run(failure.run), _how(run)
            elif (not same or run.state is RunState.SUCCESS) and self._all_passed(failure, run):
                yield self._ledger.run(failure.run), "all of it has passed in other runs"

    def _is_older(self, failure: OpenFailure, root: Run) -> bool:
        """Whether the failure's request is not newer than that of `root`."""
        return root.asked_at >= self._ledger.run(failure.root).asked_at

    def _all_passed(self, failure: OpenFailure, run: Run) -> bool:
        """Whether all that did not pass has passed since, in runs that did the same to it."""
        failed = self._ledger.run(failure.run)
        left = {result.node for result in failed.nodes if not result.passed}
        if not left & {result.node for result in run.nodes if result.passed}:
            return False
        alike = []
        asked = self._ledger.run(failure.root).request
        for other, request in self._ledger.asked_since(failed.target, _ended(failed)).items():
            with suppress(RequestError):  # an old request may hold what is not allowed any more
                if request.does_all_of(asked):
                    alike.append(other)
        latest = self._ledger.latest(alike, _ended(failed))
        return all(node in latest and latest[node].status in PASSED for node in left)


def failed_nodes(run: Run) -> frozenset[str]:
    """Unique ids of the nodes that failed; none when the run failed before its first node."""
    return frozenset(
        result.node for result in run.nodes if not result.passed and result.status != "skipped"
    )


def _how(run: Run) -> str:
    if run.follows:
        return "rerun"
    return "the next daily build" if run.morning else "the same was asked for again"


def _ended(run: Run) -> datetime:
    return run.finished_at or run.asked_at
