"""What became of the published commits: when each became ready, or turned out broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mage_dbt.ledger.ledger import Ledger

COMMIT_EVENTS = """
select distinct on (sha) sha, state, message, at from ledger.commit_event
where sha = any(%s)
order by sha, seq desc
"""

LIVE_SINCE = """
select min(at) as since from ledger.commit_event
where sha = %(sha)s and state = 'ready' and seq > coalesce(
    (select max(seq) from ledger.commit_event where sha <> %(sha)s and state = 'ready'), 0
)
"""
"""A runner that starts finds the live commit ready once more: the first time counts."""


@dataclass(frozen=True)
class CommitState:
    """What became of a published commit."""

    state: str
    """ready or broken."""
    message: str
    at: datetime


class CommitLedger:
    """The commits in one ledger. Every method raises LedgerUnreachable while it is away."""

    def __init__(self, ledger: Ledger) -> None:
        self._rows = ledger.rows

    def live_since(self, sha: str) -> datetime | None:
        """Since when the live commit is live; None where that is not known."""
        since: datetime | None = self._rows(LIVE_SINCE, {"sha": sha})[0]["since"]
        return since

    def states(self, shas: Sequence[str]) -> dict[str, CommitState]:
        """By SHA, what became of those commits that were published."""
        return {
            row.pop("sha"): CommitState(**row) for row in self._rows(COMMIT_EVENTS, [list(shas)])
        }
