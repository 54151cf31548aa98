"""When the daily build is due: single rules, then years of daily builds in many zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.model.daily_build import ON_TIME_FOR, DailyBuild, Timing, daily_build_key
from tests.unit.zones import YEARS, ZONES

SEOUL = DailyBuild(time(8), ZoneInfo("Asia/Seoul"))
BERLIN = DailyBuild(time(8), ZoneInfo("Europe/Berlin"))

TIMES = (time(8), time(0), time(0, 30), time(2, 30), time(23, 59))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_eight_in_seoul_is_eleven_at_night_utc_the_day_before() -> None:
    assert SEOUL.due(date(2026, 11, 23)) == at("2026-11-22 23:00")
    assert SEOUL.cron(date(2026, 11, 23)) == "0 23 * * *"


def test_the_utc_time_follows_the_clocks() -> None:
    assert BERLIN.due(date(2026, 3, 28)) == at("2026-03-28 07:00")
    assert BERLIN.due(date(2026, 3, 29)) == at("2026-03-29 06:00")
    assert BERLIN.cron(date(2026, 3, 28)) == "0 7 * * *"
    assert BERLIN.cron(date(2026, 3, 29)) == "0 6 * * *"


def test_a_time_that_clocks_skip_means_the_first_instant_after_the_gap() -> None:
    assert DailyBuild(time(2, 30), BERLIN.zone).due(date(2026, 3, 29)) == at("2026-03-29 01:00")
    lord_howe = DailyBuild(time(2, 15), ZoneInfo("Australia/Lord_Howe"))
    assert lord_howe.due(date(2026, 10, 4)) == at("2026-10-03 15:30")


def test_a_time_that_comes_twice_means_the_first() -> None:
    assert DailyBuild(time(2, 30), BERLIN.zone).due(date(2026, 10, 25)) == at("2026-10-25 00:30")


def test_a_date_that_the_zone_skipped_has_no_daily_build() -> None:
    apia = DailyBuild(time(8), ZoneInfo("Pacific/Apia"))
    assert apia.next_due(at("2011-12-29 20:00")) == apia.due(date(2011, 12, 31))


@pytest.mark.parametrize(
    ("now", "timing"),
    [
        ("2026-11-22 22:59:59", Timing.BEFORE),
        ("2026-11-22 23:00:00", Timing.ON_TIME),
        ("2026-11-22 23:05:00", Timing.ON_TIME),
        ("2026-11-22 23:05:01", Timing.LATE),
        ("2026-11-23 14:59:59", Timing.LATE),
        ("2026-11-23 15:00:00", Timing.BEFORE),
    ],
)
def test_what_a_request_means_depends_on_the_minute(now: str, timing: Timing) -> None:
    assert SEOUL.decide(at(now), ()).timing is timing


def test_late_says_by_how_much() -> None:
    decision = SEOUL.decide(at("2026-11-23 01:30"), ())
    assert decision.late_by == timedelta(hours=2, minutes=30)
    assert decision.day == date(2026, 11, 23)
    assert decision.builds


def test_a_date_that_has_its_build_gets_no_second() -> None:
    decision = SEOUL.decide(at("2026-11-23 01:30"), {"daily:2026-11-23"})
    assert decision.timing is Timing.ALREADY
    assert not decision.builds


def test_yesterdays_missed_daily_build_is_not_made_up_for() -> None:
    decision = SEOUL.decide(at("2026-11-22 20:00"), {"daily:2026-11-21"})
    assert decision.timing is Timing.BEFORE
    assert decision.key == "daily:2026-11-23"


def test_a_build_of_23_59_begun_just_after_midnight_is_still_that_days() -> None:
    night = DailyBuild(time(23, 59), ZoneInfo("Asia/Seoul"))
    decision = night.decide(at("2026-11-23 15:01"), ())
    assert (decision.timing, decision.day) == (Timing.ON_TIME, date(2026, 11, 23))


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("clock", TIMES, ids=str)
def test_each_date_of_a_year_is_due_once_at_its_own_time(clock: time, zone: str, year: int) -> None:
    daily_build = DailyBuild(clock, ZoneInfo(zone))
    day, now = date(year, 1, 1), daily_build.due(date(year, 1, 1)) - timedelta(seconds=1)
    seen: set[date] = set()
    while day <= date(year, 12, 31):
        due = daily_build.next_due(now)
        local = due.astimezone(daily_build.zone)
        assert local.date() not in seen
        assert local.time() == clock or _in_gap(local, clock, daily_build.zone)
        minute, hour, *rest = daily_build.cron(local.date()).split()
        assert (int(hour), int(minute)) == (due.hour, due.minute)
        assert rest == ["*", "*", "*"]
        decided = daily_build.decide(due, ())
        assert (decided.timing, decided.key) == (Timing.ON_TIME, daily_build_key(local.date()))
        assert daily_build.decide(due - timedelta(seconds=1), ()).timing is not Timing.ON_TIME
        later = due + ON_TIME_FOR + timedelta(minutes=1)
        if later.astimezone(daily_build.zone).date() == local.date():
            assert daily_build.decide(later, ()).timing is Timing.LATE
        seen.add(local.date())
        day, now = local.date() + timedelta(days=1), due
    skipped = {date(2011, 12, 30)} if (zone, year) == ("Pacific/Apia", 2011) else set()
    whole = {date(year, 1, 1) + timedelta(days=n) for n in range(365)}
    assert whole - seen == skipped


def _in_gap(local: datetime, clock: time, zone: ZoneInfo) -> bool:
    """Whether `clock` does not exist on that date and `local` is where the gap ends."""
    wished = datetime.combine(local.date(), clock)
    shown = wished.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)
    just_before = (local.astimezone(UTC) - timedelta(seconds=1)).astimezone(zone)
    return shown.replace(tzinfo=None) != wished and just_before.replace(tzinfo=None) < wished
