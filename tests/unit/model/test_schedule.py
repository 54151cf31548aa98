"""The daily build's schedule: what a pause leaves out, which builds come, what may be changed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.errors import RequestError
from mage_dbt.model.daily_build import Timing, daily_build_key
from mage_dbt.model.deadline import Deadline
from mage_dbt.model.schedule import Change, ChangeKind, Outlook, PastChange, Schedule, Today
from mage_dbt.model.schedule_change import LONGEST_PAUSE, ScheduleRequest, ScheduleUpdate

SEOUL = ZoneInfo("Asia/Seoul")
BERLIN = ZoneInfo("Europe/Berlin")
EIGHT = Schedule.by_settings(time(8), "Asia/Seoul")


def at(text: str, zone: ZoneInfo = SEOUL) -> datetime:
    """`3 08:30`: that local time on 3 December 2026, or with a whole date."""
    day, clock = text.split()
    day = day if "-" in day else f"2026-12-{int(day):02}"
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone)


def paused(until: str | None = None, why: str = "inventory") -> Schedule:
    by = Change("kim", at("1 17:00"), why)
    return replace(
        EIGHT, paused=True, paused_until=at(until) if until else None, pause_set=by, at=by.at
    )


def timing(schedule: Schedule, now: str, *taken: int) -> Timing:
    keys = [daily_build_key(date(2026, 12, day)) for day in taken]
    return schedule.decide(at(now), keys).timing


def coming(schedule: Schedule, now: str, *taken: int) -> list[str]:
    keys = [daily_build_key(date(2026, 12, day)) for day in taken]
    return [f"{due.day} {due:%H:%M}" for due in schedule.coming(at(now), keys)]


def test_a_later_time_lets_todays_build_wait_for_it() -> None:
    nine = replace(EIGHT, build_at=time(9))
    assert timing(EIGHT, "2 08:00") is Timing.ON_TIME
    assert timing(nine, "2 08:00") is Timing.BEFORE
    assert coming(nine, "2 08:00") == ["2 09:00", "3 09:00", "4 09:00"]


def test_an_earlier_time_that_has_passed_makes_todays_build_late() -> None:
    decision = EIGHT.decide(at("2 08:30"), ())
    assert (decision.timing, decision.late_by) == (Timing.LATE, timedelta(minutes=30))


def test_a_date_that_was_built_is_not_built_again_at_a_later_time() -> None:
    nine = replace(EIGHT, build_at=time(9))
    for now in ("2 08:40", "2 09:00"):
        assert timing(nine, now, 2) is Timing.ALREADY
        assert coming(nine, now, 2) == ["3 09:00", "4 09:00", "5 09:00"]


def test_nothing_begins_during_a_pause_and_nothing_is_made_up_for_after_it() -> None:
    schedule = paused("4 12:00")
    for now in ("2 08:00", "3 08:00", "4 08:00", "4 11:59"):
        assert timing(schedule, now) is Timing.PAUSED
    over = schedule.at_time(at("4 12:00"))
    assert not over.paused and over.resumed_at == at("4 12:00")
    assert timing(schedule, "4 12:00") is timing(over, "4 12:01") is Timing.PAUSED
    assert timing(over, "5 07:59") is Timing.BEFORE
    assert timing(over, "5 08:00") is Timing.ON_TIME
    assert coming(schedule, "2 07:00") == ["5 08:00", "6 08:00", "7 08:00"]


def test_a_pause_until_the_very_minute_of_the_build_lets_it_begin() -> None:
    schedule = paused("4 08:00")
    assert timing(schedule, "4 07:59") is Timing.BEFORE
    assert timing(schedule, "4 08:00") is Timing.ON_TIME
    assert coming(schedule, "3 09:00")[0] == "4 08:00"


def test_without_an_end_a_pause_promises_no_build() -> None:
    assert coming(paused(), "2 07:00") == []
    assert timing(paused(), "9 08:00") is Timing.PAUSED
    assert timing(paused(), "9 08:00", 9) is Timing.ALREADY


def test_a_build_set_to_a_time_after_the_pause_still_comes_today() -> None:
    resumed = replace(EIGHT, build_at=time(13), resumed_at=at("4 12:00"))
    assert timing(resumed, "4 12:30") is Timing.BEFORE
    assert timing(resumed, "4 13:00") is Timing.ON_TIME
    assert timing(replace(resumed, build_at=time(12, 10)), "4 12:30") is Timing.LATE
    assert timing(replace(resumed, build_at=time(11)), "4 12:30") is Timing.PAUSED


def test_the_time_follows_the_clocks_and_so_does_the_end_of_a_pause() -> None:
    berlin = Schedule.by_settings(time(8), "Europe/Berlin")
    before, after = berlin.coming(at("2027-03-27 07:00", BERLIN), (), 2)
    assert after.astimezone(UTC) - before.astimezone(UTC) == timedelta(hours=23)
    now = at("2027-03-27 07:00", BERLIN)
    body = ScheduleRequest.read({"paused": True, "paused_until": "2027-03-28T02:30", "why": "x"})
    until = ScheduleUpdate.checked(body, BERLIN, now).paused_until
    assert until == datetime(2027, 3, 28, 1, tzinfo=UTC), "the first instant after the gap"
    twice = {"paused": True, "paused_until": "2027-10-31T02:30", "why": "x"}
    now = at("2027-10-30 07:00", BERLIN)
    until = ScheduleUpdate.checked(ScheduleRequest.read(twice), BERLIN, now).paused_until
    assert until == datetime(2027, 10, 31, 0, 30, tzinfo=UTC), "the first of two"


def test_a_deadline_that_does_not_fit_a_time_that_was_set_is_an_hour_after_it() -> None:
    ten = replace(EIGHT, build_at=time(10))
    assert Deadline.of(EIGHT.daily_build, time(9)).over_by == time(9)
    assert Deadline.of(ten.daily_build, time(9)).over_by == time(11)


def test_words_name_the_end_the_person_the_reason_and_the_settings() -> None:
    now = at("2 08:00")
    assert paused("5 12:00").pause_in_words(now) == (
        "paused until 2026-12-05 12:00 KST by kim (inventory)"
    )
    assert paused(why="").pause_in_words(now) == "paused by kim"
    assert EIGHT.pause_in_words(now) == paused("2 08:00").pause_in_words(now) == ""
    assert EIGHT.time_in_words(now) == "08:00 KST (Asia/Seoul)"
    lee = Change("lee", at("1 09:00"))
    nine = replace(EIGHT, build_at=time(9), settings_at=time(8), time_set=lee)
    assert nine.time_in_words(now) == ("09:00 KST (Asia/Seoul), set by lee; the settings say 08:00")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "Nothing is asked for"),
        ({"why": "x"}, "Nothing is asked for"),
        ({"build_at": "8:00"}, "`build_at`"),
        ({"build_at": "24:00"}, "`build_at`"),
        ({"build_at": "08:00:30"}, "`build_at`"),
        ({"build_at": 8}, "`build_at` is a text"),
        ({"paused": "yes"}, "`paused` is true or false"),
        ({"paused": True}, "A pause needs a reason"),
        ({"paused": True, "why": "  "}, "A pause needs a reason"),
        ({"paused_until": "2026-12-05T12:00", "why": "x"}, "is the end of a pause"),
        ({"paused": False, "paused_until": "2026-12-05T12:00"}, "is the end of a pause"),
        ({"paused": True, "paused_until": "tomorrow", "why": "x"}, "is no time"),
        ({"paused": True, "paused_until": "2026-12-05", "why": "x"}, "is no time"),
        ({"paused": True, "paused_until": "0001-01-01T00:00", "why": "x"}, "is no time"),
        ({"paused": True, "paused_until": "2026-12-02T07:59", "why": "x"}, "which is over"),
        ({"paused": True, "paused_until": "2027-03-03T08:01", "why": "x"}, "90 days"),
        ({"reset": True, "build_at": "07:00"}, "stands alone"),
        ({"reset": False}, "stands alone"),
        ({"zone": "UTC", "build_at": "07:00"}, "Unknown field 'zone'"),
        ({"pausd": True}, "paused"),
        ({"build_at": "07:00", "why": "a\nb"}, "line break"),
    ],
    ids=str,
)
def test_what_cannot_be_set_is_refused_by_name(body: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError) as refused:
        ScheduleUpdate.checked(ScheduleRequest.read(body), SEOUL, at("2 08:00"))
    assert says in str(refused.value)


def test_the_end_of_a_pause_is_in_the_teams_zone_unless_it_has_an_offset() -> None:
    now = at("2 08:00")
    for text in ("2026-12-05T12:00", "2026-12-05T12:00+09:00", "2026-12-05T03:00Z"):
        body = ScheduleRequest.read({"paused": True, "paused_until": text, "why": "x"})
        assert ScheduleUpdate.checked(body, SEOUL, now).paused_until == at("5 12:00")
    longest = f"{now + LONGEST_PAUSE:%Y-%m-%dT%H:%M}"
    body = ScheduleRequest.read({"paused": True, "paused_until": longest, "why": "x"})
    assert ScheduleUpdate.checked(body, SEOUL, now).paused_until == now + LONGEST_PAUSE


def test_values_are_the_same_after_json() -> None:
    schedule = paused("5 12:00")
    assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule
    assert schedule.to_json()["build_at"] == "08:00"
    change = PastChange(at("1 17:00"), "kim", "", (ChangeKind.PAUSE,), None, at("5 12:00"))
    outlook = Outlook(schedule, (at("6 08:00"),), Today.PAUSED, time(9), (change,), "operator")
    assert Outlook.from_json(json.loads(json.dumps(outlook.to_json()))) == outlook
