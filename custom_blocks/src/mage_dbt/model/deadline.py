"""The time by which the daily build should be over, and whether that time has passed.

Pure: no clock, no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from mage_dbt.model.daily_build import DailyBuild, first_instant

UNSET_AFTER = timedelta(hours=1)
"""Time from the begin of a build to its deadline, when DAILY_BUILD_OVER_BY is not set."""

LONGEST_OVER_MIDNIGHT = timedelta(hours=12)
"""A deadline earlier on the clock than the build is on the next date. A deadline more than this
time after the build is due is taken for a mistake."""


@dataclass(frozen=True)
class Deadline:
    """The time of day by which the build of a date should be over."""

    daily_build: DailyBuild
    over_by: time

    @classmethod
    def of(cls, daily_build: DailyBuild, over_by: time | None) -> Deadline:
        """`over_by` is the value of DAILY_BUILD_OVER_BY, or None when it is not set.

        One that does not fit a time which somebody has set counts as not set.
        """
        if over_by is None or unfit(daily_build.at, over_by):
            over_by = default_over_by(daily_build.at)
        return cls(daily_build, over_by)

    def over_at(self, day: date) -> datetime:
        """The instant (UTC) by which the build of `day` should be over, after it is due.

        When clocks skip both times, the time between them counts.
        """
        at = self.daily_build.at
        on = day if self.over_by > at else day + timedelta(days=1)
        end = first_instant(datetime.combine(on, self.over_by), self.daily_build.zone)
        due = self.daily_build.due(day)
        return end if end > due else due + between(at, self.over_by)

    def passed(self, now: datetime) -> date | None:
        """The date whose build should be over by `now`; None when no deadline has passed today.

        A deadline is worth an alert until its own local date ends.
        """
        today = now.astimezone(self.daily_build.zone).date()
        for day in (today, today - timedelta(days=1)):
            if not self.daily_build.has(day):
                continue
            end = self.over_at(day)
            if end <= now and end.astimezone(self.daily_build.zone).date() == today:
                return day
        return None


def between(at: time, over_by: time) -> timedelta:
    """The time from `at` to the next `over_by`, on a day on which clocks do not change."""
    some_day = date(2000, 1, 3)
    gap = datetime.combine(some_day, over_by) - datetime.combine(some_day, at)
    return gap if gap > timedelta(0) else gap + timedelta(days=1)


def default_over_by(at: time) -> time:
    """One hour after the build begins: 09:00 for 08:00, and 00:59 for 23:59."""
    return (datetime.combine(date(2000, 1, 3), at) + UNSET_AFTER).time()


def unfit(at: time, over_by: time) -> str:
    """Why a build that begins at `at` cannot have the deadline `over_by`; empty when it can.

    A time later on the clock is right, and so is a time after midnight for a late build.
    """
    if over_by > at or between(at, over_by) <= LONGEST_OVER_MIDNIGHT:
        return ""
    return f"it is not later than DAILY_BUILD_AT={at:%H:%M}"
