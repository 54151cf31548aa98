"""By when the daily build should be over, and whether it is time to say that it is not.

Pure: no clock, no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from mage_dbt.morning import Morning, first_instant

UNSET_AFTER = timedelta(hours=1)
"""Without MORNING_BUILD_OVER_BY, the build should be over this long after it begins."""

LONGEST_OVER_MIDNIGHT = timedelta(hours=12)
"""A clock time before the build's means the next date, up to this long after the build is due;
later it is taken for a mistake."""


@dataclass(frozen=True)
class Deadline:
    """The time of day at which the build of a date should be over."""

    morning: Morning
    over_by: time

    @classmethod
    def of(cls, morning: Morning, over_by: time | None) -> Deadline:
        """With the setting's value, or without one."""
        return cls(morning, over_by or default_over_by(morning.at))

    def over_at(self, day: date) -> datetime:
        """The instant (UTC) by which the build of `day` should be over; always after it is due.

        Where clocks are put forward over both times, the distance between them counts.
        """
        at = self.morning.at
        on = day if self.over_by > at else day + timedelta(days=1)
        end = first_instant(datetime.combine(on, self.over_by), self.morning.zone)
        due = self.morning.due(day)
        return end if end > due else due + between(at, self.over_by)

    def passed(self, now: datetime) -> date | None:
        """The date whose build should be over by `now`, as long as it is worth telling: until the
        local date on which it should have been over has ended."""
        today = now.astimezone(self.morning.zone).date()
        for day in (today, today - timedelta(days=1)):
            if not self.morning.has(day):
                continue
            end = self.over_at(day)
            if end <= now and end.astimezone(self.morning.zone).date() == today:
                return day
        return None


def between(at: time, over_by: time) -> timedelta:
    """From the one to the next coming of the other, on a day on which clocks do not change."""
    some_day = date(2000, 1, 3)
    gap = datetime.combine(some_day, over_by) - datetime.combine(some_day, at)
    return gap if gap > timedelta(0) else gap + timedelta(days=1)


def default_over_by(at: time) -> time:
    """One hour after the build begins: 09:00 for 08:00, 00:59 for 23:59."""
    return (datetime.combine(date(2000, 1, 3), at) + UNSET_AFTER).time()


def unfit(at: time, over_by: time) -> str:
    """Why `over_by` is no time by which a build that begins at `at` can be over; empty when it is.

    Later on the clock is right; so is a time after midnight for a build that begins before it.
    """
    if over_by > at or between(at, over_by) <= LONGEST_OVER_MIDNIGHT:
        return ""
    return f"it is not later than DAILY_BUILD_AT={at:%H:%M}"
