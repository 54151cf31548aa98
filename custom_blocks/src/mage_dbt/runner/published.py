"""Tells which commits the branch has, and what became of each here."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

from mage_dbt.commits.changes import last_commits
from mage_dbt.commits.store import Commits
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.commits import CommitLedger, CommitState
from mage_dbt.model.commit import CommitLine
from mage_dbt.model.published import Published, PublishedCommit, PublishedState
from mage_dbt.runner.status import broken_of, live_of, preparing_of

LISTED = 30
"""Commits in one answer."""

LOOKED_THROUGH = 200
"""git's log, in which the live commit is looked for when it is far behind."""


class PublishedCommits:
    """The commits of the synced branch. Any method from any thread."""

    def __init__(self, commits: Commits, ledger: Ledger, branch: str, zone: ZoneInfo) -> None:
        self._commits = commits
        self._ledger = CommitLedger(ledger)
        self._branch = branch
        self._zone = zone
        self._guard = threading.Lock()
        self._logged: tuple[str, list[CommitLine]] | None = None

    def now(self) -> Published:
        """Raises LedgerUnreachable."""
        commits = self._commits
        live, broken, attempt = commits.live, commits.broken, commits.attempt
        lines = self._lines(commits.published())
        wanted = [line.sha for line in lines]
        if live and live.sha not in wanted:
            wanted.append(live.sha)
        known = self._ledger.states(wanted)
        since = self._ledger.live_since(live.sha) if live else None
        return Published(
            branch=self._branch,
            live=live_of(live, commits.behind()) if live else None,
            live_since=since.astimezone(self._zone) if since else None,
            preparing=preparing_of(commits, self._zone),
            broken=broken_of(broken) if broken else None,
            commits=listed(
                lines, known, live.sha if live else "", attempt.sha if attempt else "", self._zone
            ),
        )

    def _lines(self, published: str | None) -> list[CommitLine]:
        """git is asked once for each commit that is published."""
        if published is None:
            return []
        with self._guard:
            if self._logged is None or self._logged[0] != published:
                found = last_commits(self._commits.history, published, LOOKED_THROUGH)
                if found is None:
                    return []
                self._logged = (published, found)
            return self._logged[1]


def listed(
    lines: Sequence[CommitLine],
    known: Mapping[str, CommitState],
    live: str,
    preparing: str,
    zone: ZoneInfo,
) -> tuple[PublishedCommit, ...]:
    """The commits with what became of each; at least LISTED, and as far as the live one.

    `lines` begin with the newest. One without a record is skipped when a newer one has a record.
    """
    at_live = next((place for place, line in enumerate(lines) if line.sha == live), 0)
    newer_tried = False
    found = []
    for line in lines[: max(LISTED, at_live + 1)]:
        record = known.get(line.sha)
        if line.sha == live:
            state = PublishedState.LIVE
        elif line.sha == preparing:
            state = PublishedState.PREPARING
        elif record is not None:
            state = PublishedState(record.state)
        else:
            state = PublishedState.SKIPPED if newer_tried else PublishedState.WAITING
        newer_tried = newer_tried or record is not None or line.sha in (live, preparing)
        ended = record is not None and state is not PublishedState.PREPARING
        found.append(
            PublishedCommit(
                sha=line.sha,
                subject=line.subject,
                author=line.author,
                committed_at=line.at,
                files=line.files,
                state=state,
                at=record.at.astimezone(zone) if record and ended else None,
                message=record.message if record and state is PublishedState.BROKEN else "",
            )
        )
    return tuple(found)
