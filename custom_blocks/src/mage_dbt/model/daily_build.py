"""When the daily build is due, and what a request for it means.

Pure: no clock, no file. Mage's cron knows only UTC, so Mage fires at a minute in UTC and this
module decides whether a build is due then. A trigger that fires once too often does no harm.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

ON_TIME_FOR = timedelta(minutes=5)
"""A build that begins within this time after it was due is on time; after that it is late."""

DAILY_KEY_PREFIX = "daily:"
"""Idempotency keys of daily builds begin with this. The runner alone gives them."""


class Timing(Enum):
    """How a request for the daily build stands to the time when the build is due."""

    BEFORE = "before"
    ON_TIME = "on time"
    LATE = "late"
    ALREADY = "already"
    PAUSED = "paused"
    """It is or was due during a pause; only a Schedule knows of pauses."""


@dataclass(frozen=True)
class Decision:
    """What a request for the daily build comes to.

    `day` is the local date of the build, `due` is in UTC. `late_by` is zero unless LATE.
    """

    timing: Timing
    day: date
    key: str
    due: datetime
    late_by: timedelta = timedelta(0)

    @property
    def builds(self) -> bool:
        """Whether the request becomes the build of `day`."""
        return self.timing in (Timing.ON_TIME, Timing.LATE)


@dataclass(frozen=True)
class DailyBuild:
    """The schedule of the daily build: one time of day in one time zone, on every date."""

    at: time
    zone: ZoneInfo

    def due(self, day: date) -> datetime:
        """The instant (UTC) at which the build of `day` is due.

        When clocks show the time twice, its first occurrence counts. When clocks skip it, the first
        instant after the gap counts.
        """
        return first_instant(datetime.combine(day, self.at), self.zone)

    def day(self, now: datetime) -> date:
        """The local date whose build a request at `now` can become: today.

        Just after midnight it is yesterday as long as yesterday's build is on time. DAILY_BUILD_AT
        may be 23:59.
        """
        today = now.astimezone(self.zone).date()
        yesterday = today - timedelta(days=1)
        over = now - self.due(yesterday) > ON_TIME_FOR
        return today if over or not self.has(yesterday) else yesterday

    def has(self, day: date) -> bool:
        """Whether the zone has this date. Samoa skipped 30 December 2011."""
        return self.due(day).astimezone(self.zone).date() == day

    def next_due(self, now: datetime) -> datetime:
        """The first instant (UTC) after `now` at which a build is due."""
        today = now.astimezone(self.zone).date()
        days = (today + timedelta(days=ahead) for ahead in range(-1, 3))
        return min(due for day in days if self.has(day) and (due := self.due(day)) > now)

    def cron(self, day: date) -> str:
        """The cron expression, in UTC, for the build of a local date."""
        due = self.due(day)
        return f"{due.minute} {due.hour} * * *"

    def decide(self, now: datetime, taken: Container[str]) -> Decision:
        """What a request for the daily build at `now` comes to.

        `taken` holds the idempotency keys that have a run. A build that was missed on its date is
        not made up for on another date.
        """
        day = self.day(now)
        due = self.due(day)
        key = daily_build_key(day)
        if now < due:
            return Decision(Timing.BEFORE, day, key, due)
        if key in taken:
            return Decision(Timing.ALREADY, day, key, due)
        if now - due <= ON_TIME_FOR:
            return Decision(Timing.ON_TIME, day, key, due)
        return Decision(Timing.LATE, day, key, due, now - due)


def daily_build_key(day: date) -> str:
    """The idempotency key of the build of a local date."""
    return f"{DAILY_KEY_PREFIX}{day.isoformat()}"


def first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) at which clocks in `zone` show `local` or later."""
    before = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if before.astimezone(zone).replace(tzinfo=None) == local:
        return before
    # `local` lies in a gap. The offset before the gap and the offset after it give two instants,
    # and the change lies between them. Offsets change on whole seconds.
    after = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    low, high = min(before, after), max(before, after)
    old = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return high
