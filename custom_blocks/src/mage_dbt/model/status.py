"""The state of a workspace, as `GET /v1/status` answers and `mage-dbt status` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Annotated, Any

from pydantic import ConfigDict

from mage_dbt.model import codec
from mage_dbt.model.alert import AlertStatus
from mage_dbt.model.codec import Moment
from mage_dbt.model.now import MageState, Preparing
from mage_dbt.model.parse_warnings import ParseWarnings
from mage_dbt.model.run import RunState
from mage_dbt.model.schedule import Schedule
from mage_dbt.model.survey import Survey


@dataclass(frozen=True)
class LiveCommit:
    """The commit that runs use."""

    __pydantic_config__ = codec.DESCRIBED

    sha: str
    subject: str
    author: str
    committed_at: str
    """ISO 8601 with the author's own offset."""
    models: int
    holds: str
    """Its nodes, counted by type: `3 models, 2 seeds`."""
    dbt_version: str
    adapter: str
    target: str
    notes: tuple[str, ...]
    parse_warnings: ParseWarnings
    behind: int | None
    """Commits between it and the published one; None where git cannot count them."""


@dataclass(frozen=True)
class BrokenCommit:
    """The newest commit, which could not be made ready."""

    __pydantic_config__ = codec.DESCRIBED

    sha: str
    subject: str
    author: str
    message: str
    hint: str
    since: float
    """Seconds since the epoch."""
    by_machine: bool
    """Whether this machine or its network failed, and not the commit."""


@dataclass(frozen=True)
class LastBrokenCommit:
    """The commit that was last found broken, whether or not it was repaired since."""

    __pydantic_config__ = codec.DESCRIBED

    sha: str
    subject: str
    author: str
    message: str
    at: Moment


@dataclass(frozen=True)
class ActiveRun:
    """A run that waits or runs. While PostgreSQL is away only its id is known."""

    __pydantic_config__ = ConfigDict(json_schema_extra=codec.described)  # what is None is left out

    run: str
    title: str | None = None
    state: Annotated[RunState, codec.AnyWord(RunState)] | None = None
    since: Moment | None = None
    detail: str | None = None
    """Which run it waits for."""
    caller: str | None = None


@dataclass(frozen=True)
class Status:
    """How the workspace is."""

    __pydantic_config__ = codec.DESCRIBED

    live: LiveCommit | None
    published: str | None
    """The SHA that git-sync has brought last."""
    preparing: str | None
    """The SHA that is being made ready now."""
    broken: BrokenCommit | None
    last_broken: LastBrokenCommit | None
    sync: Mapping[str, Any] | None
    """git-sync's own status file; None without one."""
    next_morning: Moment | None
    """When the next daily build begins; None while it is paused until somebody ends that."""
    active_runs: tuple[ActiveRun, ...]
    ledger_error: str
    """Empty while PostgreSQL answers."""
    processes: tuple[Mapping[str, Any], ...] | None
    """The workspace's processes, as its supervisor lists them; None without one."""
    alerts: AlertStatus
    survey: Survey | None = None
    """What the warehouse holds beside the models of the live commit; None until it was looked up
    once."""
    schedule: Schedule | None = None
    """When the daily build begins, who has set that, and its pause; None from an older runner."""
    mage: Annotated[MageState, codec.AnyWord(MageState)] | None = None
    """Whether Mage answers; None before the first look at it, and from an older runner."""
    preparing_commit: Preparing | None = None
    """The commit that is being made ready now, with how long that takes yet."""

    @property
    def zone(self) -> tzinfo:
        """The team's time zone."""
        if self.schedule is not None:
            return self.schedule.daily_build.zone
        return (self.next_morning.tzinfo if self.next_morning else None) or UTC

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Status:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        data = codec.plain(self)
        runs = data["active_runs"]
        known = [{name: value for name, value in run.items() if value is not None} for run in runs]
        survey = self.survey.to_json() if self.survey else None
        return data | {"active_runs": known, "survey": survey}
