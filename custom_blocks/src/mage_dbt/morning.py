"""When the daily build is due, and what a request that came for it means.

Pure: no clock, no file. Mage's cron knows only UTC, so Mage wakes us at a UTC minute and this
module decides whether that is the morning: Mage firing once too often is then harmless.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

ON_TIME_FOR = timedelta(minutes=5)
"""A build begun within this long after it was due is on time; after that it is late."""


DAILY_KEYS = "daily:"
"""What the idempotency keys of the mornings' builds begin with: the runner alone gives them."""


class Timing(Enum):
    """What a request for the daily build is, at the moment it comes."""

    BEFORE = "before"
    ON_TIME = "on time"
    LATE = "late"
    ALREADY = "already"


@dataclass(frozen=True)
class Decision:
    """`day` is the local date the request is about; `late_by` is zero unless it is LATE."""

    timing: Timing
    day: date
    key: str
    due: datetime
    late_by: timedelta = timedelta(0)

    @property
    def builds(self) -> bool:
        """Whether the request is to become the build of `day`."""
        return self.timing in (Timing.ON_TIME, Timing.LATE)


@dataclass(frozen=True)
class Morning:
    """One time of day in one time zone, on every date."""

    at: time
    zone: ZoneInfo

    def due(self, day: date) -> datetime:
        """The instant (UTC) at which the build of `day` is due.

        A local time that comes twice means its first coming; one that clocks skip means the first
        instant after the gap.
        """
        return first_instant(datetime.combine(day, self.at), self.zone)

    def day(self, now: datetime) -> date:
        """The local date whose build a request at `now` can be: today's.

        Just after midnight it is still yesterday's while that one is on time (DAILY_BUILD_AT may
        be 23:59).
        """
        today = now.astimezone(self.zone).date()
        yesterday = today - timedelta(days=1)
        over = now - self.due(yesterday) > ON_TIME_FOR
        return today if over or not self.has(yesterday) else yesterday

    def has(self, day: date) -> bool:
        """False for a date that the zone skipped whole (Samoa, 30 December 2011)."""
        return self.due(day).astimezone(self.zone).date() == day

    def next_due(self, now: datetime) -> datetime:
        """The first due instant (UTC) after `now`."""
        today = now.astimezone(self.zone).date()
        days = (today + timedelta(days=ahead) for ahead in range(-1, 3))
        return min(due for day in days if self.has(day) and (due := self.due(day)) > now)

    def cron(self, day: date) -> str:
        """The cron expression, in UTC, for the morning of a local date."""
        due = self.due(day)
        return f"{due.minute} {due.hour} * * *"

    def decide(self, now: datetime, claimed: Container[str]) -> Decision:
        """What a request for the daily build at `now` means; `claimed` holds the keys taken so far.

        A morning missed altogether is never made up for on another date.
        """
        day = self.day(now)
        due = self.due(day)
        key = daily_key(day)
        if now < due:
            return Decision(Timing.BEFORE, day, key, due)
        if key in claimed:
            return Decision(Timing.ALREADY, day, key, due)
        if now - due <= ON_TIME_FOR:
            return Decision(Timing.ON_TIME, day, key, due)
        return Decision(Timing.LATE, day, key, due, now - due)


def daily_key(day: date) -> str:
    """The idempotency key of the build of a local date."""
    return f"{DAILY_KEYS}{day.isoformat()}"


def first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) at which clocks in `zone` show `local` or later."""
    before = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if before.astimezone(zone).replace(tzinfo=None) == local:
        return before
    # `local` lies in a gap: read with the offset before it and with the one after it, it gives two
    # instants with the change between them. Offsets change on whole seconds.
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
