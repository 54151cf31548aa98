"""When the daily build begins, as people have set it; settings give the first one.

Pure: no clock, no file. A time that somebody sets holds until it is set again or reset, whatever
the settings say later. A pause keeps the time. The time zone is always that of the settings.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, timezone
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import PlainSerializer

from mage_dbt.base import clock
from mage_dbt.model import codec
from mage_dbt.model.codec import Moment
from mage_dbt.model.daily_build import (
    DailyBuild,
    Decision,
    Timing,
    daily_build_key,
)

Clock = Annotated[time, PlainSerializer(lambda value: f"{value:%H:%M}", return_type=str)]

BUILDS_AHEAD = 3
"""How many coming builds are listed."""


@dataclass(frozen=True)
class Change:
    """Who has set something, when and why."""

    __pydantic_config__ = codec.DESCRIBED

    by: str
    at: Moment
    why: str = ""


class ChangeKind(StrEnum):
    """What one change has done."""

    TIME = "time"
    PAUSE = "pause"
    RESUME = "resume"
    RESET = "reset"
    """Back to the settings, and not paused."""


@dataclass(frozen=True)
class PastChange:
    """One change of the schedule, and what held after it."""

    __pydantic_config__ = codec.DESCRIBED

    at: Moment
    by: str
    why: str
    what: tuple[Annotated[ChangeKind, codec.AnyWord(ChangeKind)], ...]
    build_at: Clock | None
    """The time of day that held after it; None for that of the settings."""
    paused_until: Moment | None
    """Of a pause: when it ends by itself; None when somebody has to end it."""


@dataclass(frozen=True)
class Schedule:
    """The daily build's time, and its pause."""

    __pydantic_config__ = codec.DESCRIBED

    build_at: Clock
    """Local time of day."""
    zone: str
    """Its time zone (IANA)."""
    paused: bool = False
    """Whether no daily build begins by itself."""
    paused_until: Moment | None = None
    """When the pause ends by itself; None when somebody has to end it."""
    by: str = ""
    """Who has made the last change; empty for the settings."""
    why: str = ""
    at: Moment | None = None
    """When that was; None for the settings."""
    settings_at: Clock | None = None
    """The time of DAILY_BUILD_AT where somebody has set one; None while that of the settings
    holds."""
    time_set: Change | None = None
    """Who has set the time that holds, or gone back to that of the settings."""
    pause_set: Change | None = None
    """Who has paused it; None while it is not paused."""
    resumed_at: Moment | None = None
    """When the last pause ended. A build that was due before is not made up for."""

    def is_paused(self, now: datetime) -> bool:
        return self.paused and (self.paused_until is None or now < self.paused_until)

    def at_time(self, now: datetime) -> Schedule:
        """The schedule as it holds at `now`: a pause that has ended by itself is none."""
        if not self.paused or self.is_paused(now):
            return self
        return replace(
            self, paused=False, paused_until=None, pause_set=None, resumed_at=self.paused_until
        )

    def decide(self, now: datetime, taken: Container[str]) -> Decision:
        """What a request for the daily build at `now` comes to; see `DailyBuild.decide`.

        Nothing begins during a pause, and what was due before its end is not made up for.
        """
        decision = self.daily_build.decide(now, taken)
        if decision.timing is Timing.ALREADY or decision.key in taken:
            return replace(decision, timing=Timing.ALREADY)  # perhaps before a later time was set
        paused = self._skips(decision.due, now)
        return replace(decision, timing=Timing.PAUSED) if paused else decision

    def _skips(self, due: datetime, now: datetime) -> bool:
        holds = self.at_time(now)
        if holds.paused and (holds.paused_until is None or due < holds.paused_until):
            return True
        return holds.resumed_at is not None and due < holds.resumed_at

    def coming(
        self, now: datetime, taken: Container[str], count: int = BUILDS_AHEAD
    ) -> tuple[datetime, ...]:
        """When the next builds begin, in the zone; none while it is paused without an end.

        `taken` holds the idempotency keys that have a run: a date is built once.
        """
        after = now
        if self.is_paused(now):
            if self.paused_until is None:
                return ()
            after = self.paused_until.astimezone(UTC) - timedelta(microseconds=1)
        found: list[datetime] = []
        while len(found) < count:
            after = self.daily_build.next_due(after)
            due = after.astimezone(self.daily_build.zone)
            if daily_build_key(due.date()) not in taken:
                found.append(due)
        return tuple(found)

    @property
    def daily_build(self) -> DailyBuild:
        return DailyBuild(self.build_at, ZoneInfo(self.zone))

    @property
    def when(self) -> str:
        """`08:00 Asia/Seoul`."""
        return f"{self.build_at:%H:%M} {self.zone}"

    def pause_in_words(self, now: datetime) -> str:
        """`paused until 2026-12-05 12:00 KST by kim (inventory)`; empty while it is not paused."""
        if not self.is_paused(now):
            return ""
        words = "paused"
        if self.paused_until is not None:
            words += f" until {self._clock.say_with_zone(self.paused_until)}"
        return words + (_signed(self.pause_set) if self.pause_set else "")

    def time_in_words(self, now: datetime) -> str:
        """`09:00 KST (Asia/Seoul), set by kim; the settings say 08:00`."""
        local = self.daily_build.next_due(now).astimezone(self.daily_build.zone)
        words = f"{self.build_at:%H:%M} {local:%Z} ({self.zone})"
        if self.settings_at is None or self.time_set is None:
            return words
        signed = _signed(self.time_set)
        return f"{words}, set{signed}; the settings say {self.settings_at:%H:%M}"

    @property
    def _clock(self) -> clock.Clock:
        return clock.Clock(self.daily_build.zone)

    @classmethod
    def by_settings(cls, build_at: time, zone: str) -> Schedule:
        """The schedule that holds until somebody changes it: the settings'."""
        return cls(build_at, zone)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Schedule:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)


class Today(StrEnum):
    """What becomes of the daily build of the present local date."""

    COMES = "comes"
    """It is due later."""
    LATE = "late"
    """It was due and has not begun: it begins as soon as Mage asks for it."""
    WAITS = "waits"
    """It has a run, which waits for its turn. A date gets no second one, whatever becomes of it."""
    RUNS = "runs"
    BUILT = "built"
    """It has passed, or a rerun of it has."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    """There is none: it is or was due during a pause."""
    BEFORE = "before"
    """There is none: it was due before the workspace was there, or before Mage's trigger was
    switched on again."""


@dataclass(frozen=True)
class Outlook:
    """The schedule with what follows from it."""

    __pydantic_config__ = codec.DESCRIBED

    schedule: Schedule
    next: tuple[Moment, ...]
    """When the next builds begin; empty while it is paused without an end."""
    today: Annotated[Today, codec.AnyWord(Today)]
    """`comes`, `late` (it begins now), `waits`, `runs`, `built`, `failed`, `cancelled`; `paused` or
    `before` (there is none)."""
    over_by: Clock
    """When an alert comes unless the build is over."""
    changes: tuple[PastChange, ...]
    """The last changes, the newest first."""
    may_change: str = ""
    """The least role that may change it."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outlook:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)


def local_time(moment: datetime, zone: ZoneInfo) -> datetime:
    """The same instant as clocks in the zone show it, with its offset alone.

    Python takes two times of one zone for equal or not by what clocks show, also in an hour that
    comes twice.
    """
    found = moment.astimezone(zone)
    return found.replace(tzinfo=timezone(found.utcoffset() or timedelta(0)), fold=0)


def _signed(change: Change) -> str:
    why = f" ({change.why})" if change.why else ""
    return f" by {change.by}{why}"
