"""Alerts about a newest commit that stays broken, and about its repair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from mage_dbt.alerts import message
from mage_dbt.commits.broken import Broken
from mage_dbt.ledger.alerts import Alert, AlertLedger
from mage_dbt.model.commit import Commit

BROKEN_FOR = timedelta(minutes=5)
"""A commit that stays broken for this long has an alert: many are repaired at once."""


class CommitAlerts:
    """The alerts about the commits of one runner."""

    def __init__(
        self,
        alerts: AlertLedger,
        commits: Callable[[], tuple[Commit | None, Broken | None]],
    ) -> None:
        """`commits` returns the live commit and the broken one."""
        self._alerts = alerts
        self._commits = commits
        self._broken_since = ("", datetime.min.replace(tzinfo=UTC))
        self._repaired = ""
        """SHA of the live commit, when its repair of the branch has been checked."""

    def new(self, now: datetime) -> Iterator[Alert]:
        """The alert about a commit that has stayed broken, or about the repair of the branch."""
        live, broken = self._commits()
        if broken is not None:
            yield from self._of_broken(broken, live, now)
        elif live is not None and live.sha != self._repaired:
            if shas := [commit.sha for commit in self._alerts.unrepaired_commits()]:
                text = message.commit_repaired(shas, live.sha, live.subject, live.author)
                yield Alert(f"recovery:broken:{shas[-1]}", now, text)
            self._repaired = live.sha

    def _of_broken(self, broken: Broken, live: Commit | None, now: datetime) -> Iterator[Alert]:
        key = f"broken:{broken.sha}" + (":machine" if broken.by_machine else "")
        if self._broken_since[0] != key:
            self._broken_since = (key, now)
        self._repaired = ""
        if now - self._broken_since[1] < BROKEN_FOR or self._alerts.known([key]):
            return
        sha, subject, author = broken.sha, broken.subject, broken.author
        reason, used = broken.error.message, live.sha if live else ""
        text = (
            message.commit_not_ready(sha, subject, reason, used)
            if broken.by_machine
            else message.commit_broken(sha, subject, author, reason, used)
        )
        earlier = self._alerts.unrepaired_commits()
        if not earlier or not earlier[-1].same_reason(str(broken.error), text.body, sha):
            yield Alert(key, now, text)
