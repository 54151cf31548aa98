"""Earlier failures of the same cause, and how each ended. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mage_dbt.ledger.failures import Earlier
from mage_dbt.model.explanation import Ending, Seen

MOST = 5
"""How many are shown."""

Repair = Callable[[str, str, str], tuple[str, str, str] | None]
"""For a node and two commits: SHA, subject and author of the commit between them that changed a
file of the node; None where git does not know one."""


def seen(
    earlier: Iterable[Earlier], repair: Repair, exists: Callable[[str], bool]
) -> tuple[Seen, ...]:
    """Each earlier failure; `exists` says whether a node is still there.

    One that has not passed since is open; of one that is gone nobody knows how it ended.
    """
    return tuple(_seen(failure, repair, exists) for failure in earlier)


def _seen(failure: Earlier, repair: Repair, exists: Callable[[str], bool]) -> Seen:
    if failure.ended_at is None:
        ended = Ending.OPEN if exists(failure.node) else Ending.UNKNOWN
        return Seen(failure.run, failure.node, failure.name, failure.at, ended)
    commit = subject = author = ""
    if failure.ended_commit and failure.ended_commit != failure.failed_commit:
        commit, subject = failure.ended_commit, failure.commit_subject or ""
        found = repair(failure.node, failure.failed_commit, failure.ended_commit)
        commit, subject, author = found or (commit, subject, author)
    return Seen(
        failure.run,
        failure.node,
        failure.name,
        failure.at,
        Ending.REPAIRED,
        (failure.ended_at - failure.at).total_seconds(),
        commit,
        subject,
        author,
        failure.caller or "",
    )
