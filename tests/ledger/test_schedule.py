"""The table of schedules: rows are added, the last holds, and changes at once lose none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from mage_dbt.launcher.postgres import Postgres
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.schedule import ScheduleLedger
from mage_dbt.model.schedule import ChangeKind, Schedule
from mage_dbt.model.schedule_change import ScheduleUpdate

SEOUL = ZoneInfo("Asia/Seoul")
NOW = datetime(2026, 12, 2, 10, tzinfo=SEOUL)
HOUR = timedelta(hours=1)
EIGHT = Schedule.by_settings(time(8), "Asia/Seoul")
NINE = ScheduleUpdate(build_at=time(9), why="the source is late")
PAUSE = ScheduleUpdate(paused=True, paused_until=NOW + 2 * HOUR, why="inventory")


@pytest.fixture
def ledger(postgres: Postgres) -> Iterator[Ledger]:
    with psycopg.connect(postgres.url("ledger")) as owner:
        owner.execute("set local ledger.forgetting = 'yes'")
        owner.execute("truncate ledger.schedule")
    found = Ledger(postgres.url("runner"))
    found.open()
    yield found
    found.close()


def test_until_somebody_sets_another_the_settings_hold(ledger: Ledger) -> None:
    assert ScheduleLedger(ledger, EIGHT).current(NOW) == EIGHT
    half_past = Schedule.by_settings(time(7, 30), "Europe/Berlin")
    assert ScheduleLedger(ledger, half_past).current(NOW) == half_past
    assert ScheduleLedger(ledger, EIGHT).history() == []


def test_a_time_holds_whatever_the_settings_say_later_and_a_reset_ends_it(ledger: Ledger) -> None:
    schedules = ScheduleLedger(ledger, EIGHT)
    found = schedules.set(NINE, "kim", NOW)
    assert (found.build_at, found.settings_at, found.by, found.why) == (
        *(time(9), time(8)),
        *("kim", "the source is late"),
    )
    later = ScheduleLedger(ledger, Schedule.by_settings(time(7, 30), "Asia/Seoul"))
    found = later.current(NOW + HOUR)
    assert found.time_in_words(NOW) == (
        "09:00 KST (Asia/Seoul), set by kim (the source is late); the settings say 07:30"
    )
    found = later.set(ScheduleUpdate(reset=True), "lee", NOW + HOUR)
    assert (found.build_at, found.settings_at, found.by) == (time(7, 30), None, "lee")
    assert found.time_set and found.time_set.by == "lee"


def test_a_pause_keeps_the_time_to_the_settings(ledger: Ledger) -> None:
    ScheduleLedger(ledger, EIGHT).set(PAUSE, "kim", NOW)
    later = ScheduleLedger(ledger, Schedule.by_settings(time(7, 30), "Asia/Seoul"))
    found = later.current(NOW)
    assert found.paused and found.build_at == time(7, 30) and found.settings_at is None
    over = later.current(NOW + 2 * HOUR)
    assert not over.paused and over.resumed_at == NOW + 2 * HOUR and over.pause_set is None


def test_a_time_that_is_set_during_a_pause_leaves_whose_pause_it_is(ledger: Ledger) -> None:
    schedules = ScheduleLedger(ledger, EIGHT)
    schedules.set(PAUSE, "kim", NOW)
    found = schedules.set(NINE, "lee", NOW + HOUR)
    assert found.by == "lee" and found.paused_until == NOW + 2 * HOUR
    assert found.pause_set and (found.pause_set.by, found.pause_set.at) == ("kim", NOW)
    assert found.time_set and found.time_set.by == "lee"
    resumed = schedules.set(ScheduleUpdate(paused=False), "mia", NOW + HOUR)
    assert resumed.resumed_at == NOW + HOUR and resumed.build_at == time(9)
    again = schedules.set(ScheduleUpdate(build_at=time(10)), "mia", NOW + 5 * HOUR)
    assert again.resumed_at == NOW + HOUR, "a later change moves no end of a pause"


def test_a_change_after_a_pause_has_ended_by_itself_does_not_move_its_end(ledger: Ledger) -> None:
    schedules = ScheduleLedger(ledger, EIGHT)
    schedules.set(PAUSE, "kim", NOW)
    found = schedules.set(NINE, "lee", NOW + 5 * HOUR)
    assert not found.paused and found.resumed_at == NOW + 2 * HOUR


def test_what_changes_nothing_is_not_written(ledger: Ledger) -> None:
    schedules = ScheduleLedger(ledger, EIGHT)
    assert schedules.set(ScheduleUpdate(paused=False), "kim", NOW) == EIGHT
    assert schedules.set(ScheduleUpdate(reset=True), "kim", NOW) == EIGHT
    schedules.set(NINE, "kim", NOW)
    assert schedules.set(NINE, "lee", NOW + HOUR).by == "kim"
    assert len(schedules.history()) == 1


def test_the_history_says_what_each_change_did(ledger: Ledger) -> None:
    schedules = ScheduleLedger(ledger, EIGHT)
    schedules.set(NINE, "kim", NOW)
    schedules.set(PAUSE, "lee", NOW)
    schedules.set(ScheduleUpdate(paused=False), "mia", NOW + HOUR)
    schedules.set(ScheduleUpdate(build_at=time(10), paused=True, why="x"), "ben", NOW + HOUR)
    schedules.set(ScheduleUpdate(reset=True), "kim", NOW + 2 * HOUR)
    found = schedules.history()
    assert [(one.by, one.what) for one in found] == [
        ("kim", (ChangeKind.RESET,)),
        ("ben", (ChangeKind.TIME, ChangeKind.PAUSE)),
        ("mia", (ChangeKind.RESUME,)),
        ("lee", (ChangeKind.PAUSE,)),
        ("kim", (ChangeKind.TIME,)),
    ]
    assert found[3].paused_until == NOW + 2 * HOUR and found[1].build_at == time(10)
    assert [one.by for one in schedules.history(2)] == ["kim", "ben"]


def test_of_changes_at_once_none_is_lost(ledger: Ledger) -> None:
    schedules = ScheduleLedger(ledger, EIGHT)
    changes = [ScheduleUpdate(build_at=time(9)), ScheduleUpdate(paused=True, why="x")] * 8
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda change: schedules.set(change, "kim", NOW), changes))
    found = schedules.current(NOW)
    assert found.paused and found.build_at == time(9)
    assert len(schedules.history()) == 2


def test_rows_stay_as_they_were_written(ledger: Ledger, postgres: Postgres) -> None:
    ScheduleLedger(ledger, EIGHT).set(NINE, "kim", NOW)
    for role in ("runner", "ledger"):
        with (
            psycopg.connect(postgres.url(role)) as connection,
            pytest.raises(psycopg.Error),
        ):
            connection.execute("update ledger.schedule set by = 'lee'")
