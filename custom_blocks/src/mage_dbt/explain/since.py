"""What changed since a node last passed: the data, or a note why there is none. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mage_dbt.ledger.failures import Pass
from mage_dbt.model.explanation import ChangedFile, ChangesNote, FileRole, Passed

UNKNOWN = "unknown: "

Changed = Callable[[str, str, Mapping[str, FileRole]], tuple[ChangedFile, ...] | None]
"""What changed in some files from a commit to another; None when git cannot tell."""


@dataclass(frozen=True)
class Since:
    """The last pass, and what changed since then in the files of the node."""

    passed: Passed | None
    changes: tuple[ChangedFile, ...] = ()
    note: str = ""


def since(last: Pass | None, commit: str, roles: Mapping[str, FileRole], changed: Changed) -> Since:
    """What changed from the last pass to the commit on which the node failed.

    `roles` are the files of which the node is made; empty where the commit's graph is not known.
    """
    if last is None:
        return Since(None, note=ChangesNote.NEVER_PASSED)
    passed = Passed(last.run, last.commit, last.at)
    if last.commit == commit:
        return Since(passed, note=ChangesNote.SAME_COMMIT)
    if not roles:
        return Since(passed, note=f"{UNKNOWN}the graph of {commit[:7]} is not there any more")
    found = changed(last.commit, commit, roles)
    if found is None:
        return Since(
            passed, note=f"{UNKNOWN}git cannot compare {last.commit[:7]} with {commit[:7]}"
        )
    return Since(passed, found, "" if found else ChangesNote.NO_CODE_CHANGED)
