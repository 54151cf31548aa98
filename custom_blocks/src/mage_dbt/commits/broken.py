"""Commits that could not be made ready, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mage_dbt.base.lists import short_list
from mage_dbt.base.yaml_file import REPAIR
from mage_dbt.commits.links import INSTEAD
from mage_dbt.errors import (
    CommitBroken,
    ContentMissing,
    DbtUnfit,
    PackagesMissing,
    PreparationFailed,
)
from mage_dbt.model.reason import words_first

PROJECT_FILE = "dbt_project.yml"

AGAIN = "It is tried again, at least every minute."

NETWORK = "network"

OUTSIDE = "outside"
"""In an answer of dbt's process: what failed leads out of the commit."""

UNFIT = "unfit"
"""In an answer of dbt's process: the installed dbt lacks something on which we rely."""

PACKAGE_HINTS = {
    NETWORK: f"Is the network there? {AGAIN}",
    "access": "The workspace may not read it: give git its credentials, and start the runner again "
    "(docs/deployment.md).",
}
"""What to do about packages, by why they cannot be had; see `dbt.packages.cause_of`."""


@dataclass(frozen=True)
class Broken:
    """A commit that could not be made ready."""

    sha: str
    subject: str
    author: str
    error: CommitBroken
    since: float
    """Seconds since the epoch."""
    graph: str = ""
    """`GraphKey.digest` of the failed parse: with another profile or environment it may succeed."""

    @property
    def by_machine(self) -> bool:
        """Whether this machine or its network failed: the commit may be good, and alerts name no
        author."""
        return self.error.by_itself

    def same_as(self, other: Broken | None) -> bool:
        """Whether it is no news to people who know of `other`."""
        return other is not None and (self.sha, self.by_machine) == (other.sha, other.by_machine)


def not_prepared(sha: str, reason: str) -> PreparationFailed:
    """dbt has given no answer of its own about the commit."""
    return PreparationFailed(f"{sha[:7]} could not be read. {reason.removesuffix('.')}.", AGAIN)


def unfit(sha: str, message: str, hint: str) -> DbtUnfit:
    """The installed dbt was not asked about the commit: it lacks something on which we rely."""
    return DbtUnfit(f"{sha[:7]} could not be read. {message}", hint)


def refused_by_dbt(sha: str, answer: Mapping[str, Any]) -> CommitBroken:
    """What dbt's process answers about a commit that it could not parse; see `Parsing.answer`."""
    message = answer["message"]
    if answer["failed"] == "machine":
        return not_prepared(sha, message)
    if answer["failed"] == UNFIT:
        return unfit(sha, message, answer["hint"])
    if answer["failed"] == OUTSIDE:
        return leads_out(sha, message, answer["hint"])
    if answer["failed"] == "packages":
        declared = answer["declared"]
        named = [package for package in declared if package.split()[0] in message]
        packages = f": {', '.join(named or declared)}" if declared else ""
        return PackagesMissing(
            f"The dbt packages of {sha[:7]} cannot be had{packages}. dbt says: {message}",
            PACKAGE_HINTS.get(answer["cause"], REPAIR),
            by_itself=answer["cause"] == NETWORK,
        )
    return CommitBroken(f"dbt cannot parse {sha[:7]}: {words_first(message)}", REPAIR)


def leads_out(sha: str, what: str, hint: str = INSTEAD) -> CommitBroken:
    """`what` says which part of the commit, or of its packages, leads to files of others."""
    return CommitBroken(f"{sha[:7]} is refused: {what}", f"{hint} {REPAIR}")


def no_project(sha: str, tree: Path, subdir: str) -> CommitBroken:
    """There is no dbt_project.yml in `subdir` of the commit; names the setting to change."""
    found = sorted(
        (os.path.relpath(file.parent, tree) for file in tree.rglob(PROJECT_FILE)),
        key=lambda folder: (folder.count("/"), folder),
    )
    missing = not (tree / subdir).is_dir()
    where = f"no folder {subdir!r}" if missing else f"no {PROJECT_FILE} in {subdir!r}"
    if not found:
        return CommitBroken(
            f"{sha[:7]} has {where}.", "DBT_METRIC_SUBDIR names the folder that holds it."
        )
    choice = found[0] if len(found) == 1 else f"one of {short_list(found)}"
    return CommitBroken(
        f"{sha[:7]} has {where}; there is one in {short_list(found)}.",
        f"Set DBT_METRIC_SUBDIR={choice} and start again.",
    )


def content_missing(
    sha: str, found: Sequence[str], submodules: Sequence[str], more: str = ""
) -> ContentMissing:
    """`found` says what is missing, `submodules` are the paths of submodules among it."""
    return ContentMissing(
        f"{sha[:7]} is not whole: {short_list(found)}; the content was not brought.{more}",
        "Git keeps it elsewhere: docs/operations.md says how it is brought.",
        tuple(submodules),
    )
