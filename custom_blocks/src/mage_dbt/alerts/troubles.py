"""What is wrong and has been told: once until something changes, and once when it is over.

A trouble is a request whose run failed. The same request that fails at the same nodes again is the
same trouble, whoever asks; so is a rerun of it. It is over when the request, or a rerun, succeeds,
or when everything that did not pass has passed in other runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from mage_dbt.errors import RequestError
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.alerts import AlertBook, Trouble
from mage_dbt.request import Request
from mage_dbt.run import PASSED, Run, RunState


class Troubles:
    """The troubles that one ledger knows, each as it stood when a run ended."""

    def __init__(self, ledger: Ledger, book: AlertBook) -> None:
        self._ledger = ledger
        self._book = book

    def last_told(self, run: Run, root: Run, anybody: bool) -> Run | None:
        """The failure that was told last of what `run`, which goes back to `root`, asks for, when
        it is not over and the same nodes failed. One of which nobody heard does not count when
        there is `anybody` now."""
        for one in self._book.troubles(_ended(run)):
            if one.same_request(root) and (one.heard or not anybody):
                told = self._ledger.run(one.run)
                return told if failed_nodes(told) == failed_nodes(run) else None
        return None

    def ended_by(self, run: Run, root: Run) -> Iterator[tuple[Run, str]]:
        """The run of each trouble that is over since `run`, and how."""
        for one in self._book.troubles(_ended(run)):
            same = one.same_request(root)
            if same and run.state is RunState.SUCCESS and self._is_since(one, root):
                yield self._ledger.run(one.run), _how(run)
            elif (not same or run.state is RunState.SUCCESS) and self._all_passed(one, run):
                yield self._ledger.run(one.run), "all of it has passed in other runs"

    def _is_since(self, trouble: Trouble, root: Run) -> bool:
        """Whether `root` was asked for no earlier than what failed then."""
        return root.asked_at >= self._ledger.run(trouble.story).asked_at

    def _all_passed(self, trouble: Trouble, run: Run) -> bool:
        """Whether all that did not pass has passed since, in runs that did the same to it."""
        told = self._ledger.run(trouble.run)
        left = {one.node for one in told.nodes if not one.passed}
        if not left & {one.node for one in run.nodes if one.passed}:
            return False
        alike = []
        asked = Request.parse(self._ledger.run(trouble.story).request)
        for other, request in self._ledger.asked_since(told.target, _ended(told)).items():
            with suppress(RequestError):  # in words that are no longer allowed
                if Request.parse(request).does_all_of(asked):
                    alike.append(other)
        latest = self._ledger.latest(alike, _ended(told))
        return all(one in latest and latest[one].status in PASSED for one in left)


def failed_nodes(run: Run) -> frozenset[str]:
    """Unique ids of what failed; none when the run failed before any node."""
    return frozenset(one.node for one in run.nodes if not one.passed and one.status != "skipped")


def _how(run: Run) -> str:
    if run.follows:
        return "rerun"
    return "the next daily build" if run.morning else "the same was asked for again"


def _ended(run: Run) -> datetime:
    return run.finished_at or run.asked_at
