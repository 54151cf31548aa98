"""By when the daily build should be over: on every date, in many zones, over midnight too."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.errors import SettingError
from mage_dbt.model.daily_build import DailyBuild
from mage_dbt.model.deadline import Deadline
from mage_dbt.settings import Settings
from tests.unit.zones import YEARS, ZONES

NO_FILE = Path("/nonexistent/workspace.env")


def deadline(at: str, over_by: str | None, zone: str) -> Deadline:
    daily_build = DailyBuild(time.fromisoformat(at), ZoneInfo(zone))
    return Deadline.of(daily_build, time.fromisoformat(over_by) if over_by else None)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_nine_in_seoul_is_midnight_utc() -> None:
    seoul = deadline("08:00", None, "Asia/Seoul")
    assert seoul.over_at(date(2026, 11, 23)) == at("2026-11-23 00:00")
    assert seoul.passed(at("2026-11-22 23:59:59")) is None
    assert seoul.passed(at("2026-11-23 00:00")) == date(2026, 11, 23)


def test_it_is_worth_telling_until_the_local_date_has_ended() -> None:
    seoul = deadline("08:00", "09:00", "Asia/Seoul")
    assert seoul.passed(at("2026-11-23 14:59:59")) == date(2026, 11, 23)
    assert seoul.passed(at("2026-11-23 15:00")) is None


def test_a_build_just_before_midnight_should_be_over_on_the_next_date() -> None:
    late = deadline("23:59", None, "Europe/Berlin")
    assert late.over_by == time(0, 59)
    assert late.over_at(date(2026, 11, 23)) == at("2026-11-23 23:59")
    assert late.passed(at("2026-11-23 23:58:59")) is None
    assert late.passed(at("2026-11-23 23:59")) == date(2026, 11, 23)
    assert late.passed(at("2026-11-24 22:59:59")) == date(2026, 11, 23)
    assert late.passed(at("2026-11-24 23:00")) is None


def test_it_follows_the_clocks() -> None:
    berlin = deadline("01:30", "03:30", "Europe/Berlin")
    assert berlin.over_at(date(2026, 3, 28)) == at("2026-03-28 02:30")
    assert berlin.over_at(date(2026, 3, 29)) == at("2026-03-29 01:30")


def test_where_clocks_skip_both_times_the_distance_between_them_counts() -> None:
    berlin = deadline("02:15", "02:45", "Europe/Berlin")
    assert berlin.daily_build.due(date(2026, 3, 29)) == at("2026-03-29 01:00")
    assert berlin.over_at(date(2026, 3, 29)) == at("2026-03-29 01:30")


def test_a_date_that_the_zone_skipped_is_not_asked_about() -> None:
    apia = deadline("08:00", "09:00", "Pacific/Apia")
    moments = (at("2011-12-29 00:00") + timedelta(minutes=30 * n) for n in range(144))
    assert date(2011, 12, 30) not in {apia.passed(one) for one in moments}


@pytest.mark.parametrize(
    ("build_at", "over_by"),
    [
        ("08:00", "09:00"),
        ("00:00", "00:30"),
        ("02:30", "03:00"),
        ("23:59", "00:59"),
        ("22:00", "07:00"),
    ],
)
@pytest.mark.parametrize("zone", ZONES)
def test_every_date_that_has_a_daily_build_is_asked_about_and_no_other(
    zone: str, build_at: str, over_by: str
) -> None:
    found = deadline(build_at, over_by, zone)
    for year in YEARS:
        days = [date(year, 1, 2) + timedelta(days=n) for n in range(360)]
        wanted = {day for day in days if found.daily_build.has(day)}
        for day in wanted:
            due, end = found.daily_build.due(day), found.over_at(day)
            assert timedelta(0) < end - due <= timedelta(hours=12)
            assert found.passed(end) == day
            assert found.passed(end - timedelta(seconds=1)) != day


@pytest.mark.parametrize(
    ("build_at", "over_by"), [("08:00", "08:00"), ("08:00", "07:30"), ("12:30", "00:31")]
)
def test_a_deadline_before_the_build_is_refused_with_a_sentence(
    build_at: str, over_by: str
) -> None:
    with pytest.raises(SettingError, match=f"OVER_BY={over_by}.*DAILY_BUILD_AT={build_at}"):
        Settings.load({"DAILY_BUILD_AT": build_at, "DAILY_BUILD_OVER_BY": over_by}, NO_FILE)


def test_a_deadline_later_on_the_clock_or_after_midnight_is_taken() -> None:
    for build_at, over_by in (("08:00", "08:01"), ("08:00", "23:00"), ("20:00", "07:00")):
        environ = {"DAILY_BUILD_AT": build_at, "DAILY_BUILD_OVER_BY": over_by}
        settings = Settings.load(environ, NO_FILE)
        assert settings.daily_build_over_by == time.fromisoformat(over_by)
        assert Settings.load(settings.as_environment(), NO_FILE) == settings


@pytest.mark.parametrize(
    "address", ["mage.example.com", "ftp://x", "https://u:p@x.com", "https://"]
)
def test_a_public_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(SettingError, match="MAGE_PUBLIC_URL"):
        Settings.load({"MAGE_PUBLIC_URL": address}, NO_FILE)


def test_links_lead_to_where_people_reach_mage() -> None:
    assert Settings.load({"MAGE_PORT": "7001"}, NO_FILE).mage_address == "http://127.0.0.1:7001"
    given = Settings.load({"MAGE_PUBLIC_URL": "https://mage.example.com/"}, NO_FILE)
    assert given.mage_address == "https://mage.example.com"
