"""The strip on every page: which commit is live, what is being made ready, what is broken."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from mage_dbt.commits.broken import Broken
from mage_dbt.model.commit import Commit
from mage_dbt.model.now import MageState, Preparing
from mage_dbt.runner.service import Runner
from mage_dbt.runner.status import preparing_of


@dataclass(frozen=True)
class Strip:
    """What the strip shows."""

    live: Commit | None
    preparing: Preparing | None
    broken: Broken | None
    ahead: int | None
    """How many commits the branch has that the live one lacks; None where git cannot count."""
    branch: str
    mage: MageState | None
    """Whether Mage answers; None before the first look at it."""

    @classmethod
    def of(cls, runner: Runner, branch: str, zone: ZoneInfo) -> Strip:
        """The strip as it is now, with times in `zone`."""
        commits = runner.commits
        return cls(
            live=commits.live,
            preparing=preparing_of(commits, zone),
            broken=commits.broken,
            ahead=commits.behind(),
            branch=branch,
            mage=runner.mage,
        )
