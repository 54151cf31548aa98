"""The schedule, and Mage's trigger beside it: a real ledger, a real Mage project, our own clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import yaml

from mage_dbt.home import Home
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.mage import project
from mage_dbt.mage.pipeline_run import SOMEBODY
from mage_dbt.mage.tables import MageTables
from mage_dbt.model.daily_build import Timing, daily_build_key
from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from mage_dbt.model.schedule import ChangeKind, Outlook, Today
from mage_dbt.model.schedule_change import ScheduleRequest
from mage_dbt.runner.schedule import DailySchedule
from mage_dbt.settings import Settings

SEOUL = ZoneInfo("Asia/Seoul")


def at(text: str, day: int = 2) -> datetime:
    """That local time on a day of December 2026."""
    return datetime.combine(date(2026, 12, day), time.fromisoformat(text), SEOUL)


@dataclass
class World:
    """A runner's schedule with its ledger, and the Mage project whose trigger it holds."""

    settings: Settings
    home: Home
    ledger: Ledger
    postgres: Postgres
    mage_says: str | None = None
    """What Mage's own table says of the trigger; None without the table."""

    def __post_init__(self) -> None:
        project.install(self.settings, self.home, at("03:00", day=1))
        self.restart()

    def restart(self, **settings: str) -> None:
        """Another runner begins, perhaps with other settings."""
        environ = {"WORKSPACE_HOME": str(self.home.root), **settings}
        self.settings = Settings.load(environ, self.home.root / "no.env")
        tables = MageTables(self._mages_table)
        self.schedule = DailySchedule(self.settings, self.home, self.ledger, tables)

    def _mages_table(self, query: str, values: Any) -> list[dict[str, Any]] | None:
        return [{"status": self.mage_says}] if self.mage_says else None

    def change(self, now: str, by: str = "kim", day: int = 2, **wanted: Any) -> Outlook:
        body = ScheduleRequest.read(wanted)
        return self.schedule.change(body, by, at(now, day))

    def hold(self, now: str, day: int = 2) -> None:
        self.schedule.hold(at(now, day))

    def timing(self, now: str, day: int = 2) -> Timing:
        """What Mage's request for the daily build would come to."""
        moment = at(now, day)
        return self.schedule.current(moment).decide(moment, self.schedule.taken).timing

    @property
    def trigger(self) -> dict[str, Any]:
        """The daily trigger, as Mage reads it."""
        found = yaml.safe_load(self._file.read_text())["triggers"]
        return next(item for item in found if item["name"] == project.DAILY_TRIGGER)

    def switch(self, status: str, now: str, day: int = 2) -> None:
        """As Mage writes the file when somebody switches the trigger on its page."""
        triggers = yaml.safe_load(self._file.read_text())["triggers"]
        daily = next(item for item in triggers if item["name"] == project.DAILY_TRIGGER)
        daily["status"] = status
        if status == "active":
            daily["last_enabled_at"] = at(now, day)
        self._file.write_text(yaml.safe_dump({"triggers": triggers}))

    def built(self, day: int = 2, follows: str | None = None) -> str:
        """The daily build of that date has a run; or a rerun of `follows` has the number."""
        run, _ = self.ledger.add_run(
            NewRun(
                id=f"202612{day:02}-080000-00000{day}",
                asked_at=at("08:00", day),
                request=Request.parse({"cause": "schedule"}),
                key=None if follows else daily_build_key(date(2026, 12, day)),
                commit="3f2c1ab",
                commit_subject="",
                target="prod",
                dbt_version="1.11",
                follows=follows,
                morning=None if follows else date(2026, 12, day),
                late_seconds=0,
            )
        )
        return run

    @property
    def _file(self) -> Path:
        return self.home.mage_project / "pipelines" / project.DAILY_PIPELINE / "triggers.yaml"


@pytest.fixture
def world(postgres: Postgres, tmp_path: Path) -> Iterator[World]:
    with psycopg.connect(postgres.url("ledger")) as owner:
        owner.execute("set local ledger.forgetting = 'yes'")
        owner.execute("truncate ledger.run, ledger.schedule cascade")
    ledger = Ledger(postgres.url("runner"))
    ledger.open()
    settings = Settings.load({"WORKSPACE_HOME": str(tmp_path)}, tmp_path / "no.env")
    try:
        yield World(settings, Home(tmp_path), ledger, postgres)
    finally:
        ledger.close()


def next_builds(outlook: Outlook) -> list[str]:
    return [f"{due.day} {due:%H:%M}" for due in outlook.next]


def test_a_new_time_is_in_mage_at_once_and_a_restart_keeps_it(world: World) -> None:
    world.hold("07:00")
    assert world.trigger["schedule_interval"] == "0 23 * * *"
    outlook = world.change("07:50", build_at="09:00", why="the source is late")
    assert world.trigger["schedule_interval"] == "0 0 * * *"
    assert "09:00 Asia/Seoul" in world.trigger["description"]
    assert world.trigger["settings"]["create_initial_pipeline_run"] is False
    assert next_builds(outlook) == ["2 09:00", "3 09:00", "4 09:00"]
    assert (outlook.today, outlook.over_by) == (Today.COMES, time(10))
    assert world.timing("08:00") is Timing.BEFORE
    assert world.timing("09:00") is Timing.ON_TIME
    project.install(world.settings, world.home, at("08:10"))  # before any runner can be asked
    assert world.trigger["schedule_interval"] == "0 0 * * *"
    world.restart(DAILY_BUILD_AT="07:30")
    project.install(world.settings, world.home, at("08:20"))
    world.hold("08:20")
    assert world.trigger["schedule_interval"] == "0 0 * * *"
    outlook = world.change("08:30", day=3, reset=True)
    assert world.trigger["schedule_interval"] == "30 22 * * *"
    assert outlook.changes[0].what == (ChangeKind.RESET,)


def test_a_time_that_has_passed_lets_mage_begin_todays_build_late(world: World) -> None:
    world.change("07:00", day=1, build_at="09:00")
    world.hold("08:29")
    outlook = world.change("08:30", build_at="08:00")
    assert outlook.today is Today.LATE
    assert world.trigger["schedule_interval"] == "0 23 * * *"
    assert world.trigger["settings"]["create_initial_pipeline_run"] is True
    assert world.timing("08:31") is Timing.LATE


def test_a_date_is_built_once_whatever_time_is_set(world: World) -> None:
    world.hold("08:00")
    world.built()
    outlook = world.change("08:30", build_at="09:00")
    assert outlook.today is Today.WAITS and next_builds(outlook)[0] == "3 09:00"
    assert world.timing("09:00") is Timing.ALREADY
    outlook = world.change("10:00", build_at="07:00")
    assert outlook.today is Today.WAITS and next_builds(outlook)[0] == "3 07:00"
    assert world.timing("10:01") is Timing.ALREADY


@pytest.mark.parametrize(
    ("state", "today"),
    [
        (RunState.STARTING, Today.RUNS),
        (RunState.RUNNING, Today.RUNS),
        (RunState.SUCCESS, Today.BUILT),
        (RunState.ERROR, Today.FAILED),
        (RunState.CANCELLED, Today.CANCELLED),
    ],
)
def test_of_todays_build_is_told_what_became_of_it(
    world: World, state: RunState, today: Today
) -> None:
    build = world.built()
    world.ledger.state(build, state)
    assert world.schedule.outlook(at("08:30")).today is today
    if state.final:
        rerun = world.built(3, follows=build)
        assert world.schedule.outlook(at("08:40")).today is today
        world.ledger.state(rerun, RunState.SUCCESS)
        assert world.schedule.outlook(at("08:50")).today is Today.BUILT


def test_a_pause_switches_mages_trigger_off_and_its_end_switches_it_on(world: World) -> None:
    world.hold("07:00")
    outlook = world.change(
        "07:30", paused=True, paused_until="2026-12-04T12:00", why="the warehouse moves"
    )
    assert outlook.today is Today.PAUSED
    assert next_builds(outlook) == ["5 08:00", "6 08:00", "7 08:00"]
    assert world.trigger["status"] == "inactive"
    for day in (2, 3, 4):
        world.hold("08:00", day)
        assert world.trigger["status"] == "inactive"
        assert world.timing("08:00", day) is Timing.PAUSED
    world.hold("11:59", 4)
    assert world.trigger["status"] == "inactive"
    world.hold("12:00", 4)
    trigger = world.trigger
    assert trigger["status"] == "active"
    assert project.instant(trigger["last_enabled_at"]) == at("12:00", 4)
    assert trigger["settings"]["create_initial_pipeline_run"] is False
    assert world.timing("12:01", 4) is Timing.PAUSED
    assert world.timing("08:00", 5) is Timing.ON_TIME
    assert len(world.schedule.outlook(at("12:01", 4)).changes) == 1, "nobody has ended it"


def test_a_pause_whose_end_passes_while_nothing_runs_is_over_at_the_next_start(
    world: World,
) -> None:
    world.change("17:00", paused=True, paused_until="2026-12-03T09:00", why="inventory")
    assert world.trigger["status"] == "inactive"
    world.restart()
    project.install(world.settings, world.home, at("10:00", 3))
    assert project.instant(world.trigger["last_enabled_at"]) == at("09:00", 3)
    world.hold("10:00", 3)
    assert world.trigger["status"] == "active"
    assert world.trigger["settings"]["create_initial_pipeline_run"] is False


def test_a_pause_that_ends_in_the_minute_of_the_build_lets_mage_begin_it(world: World) -> None:
    world.change("17:00", paused=True, paused_until="2026-12-03T08:00", why="inventory")
    world.hold("07:59", 3)
    assert world.trigger["status"] == "inactive"
    world.hold("08:00", 3)
    assert world.trigger["status"] == "active"
    # Mage fires when the cron's last tick is not before this.
    assert project.instant(world.trigger["last_enabled_at"]) == at("08:00", 3)
    assert world.timing("08:00", 3) is Timing.ON_TIME


def test_a_switch_in_mage_is_a_change_like_any_other(world: World) -> None:
    world.hold("07:00")
    world.switch("inactive", "07:30")
    world.hold("07:30")
    schedule = world.schedule.current(at("07:30"))
    assert schedule.paused and schedule.paused_until is None
    assert schedule.pause_in_words(at("07:30")) == (
        f"paused by {SOMEBODY} ('Every morning' was switched off in Mage)"
    )
    assert world.timing("08:00") is Timing.PAUSED
    world.hold("08:00", 3)
    assert world.trigger["status"] == "inactive"
    world.switch("active", "09:00", 3)
    world.hold("09:00", 3)
    assert not world.schedule.current(at("09:00", 3)).paused
    assert world.trigger["status"] == "active"
    assert world.timing("09:01", 3) is Timing.PAUSED, "it was due during the pause"
    assert world.timing("08:00", 4) is Timing.ON_TIME
    made = [change.what for change in world.schedule.outlook(at("09:00", 3)).changes]
    assert made == [(ChangeKind.RESUME,), (ChangeKind.PAUSE,)]


def test_what_is_paused_here_may_be_resumed_in_mage_and_the_other_way_round(world: World) -> None:
    world.hold("07:00")
    world.change("07:10", paused=True, paused_until="2026-12-09T12:00", why="inventory")
    world.hold("07:11")
    world.switch("active", "07:20")
    world.hold("07:20")
    assert not world.schedule.current(at("07:20")).paused
    world.switch("inactive", "07:30")
    world.hold("07:30")
    outlook = world.change("07:40", by="lee", paused=False)
    assert not outlook.schedule.paused and world.trigger["status"] == "active"
    world.hold("07:41")
    assert [change.by for change in world.schedule.outlook(at("07:41")).changes] == [
        *("lee", SOMEBODY, SOMEBODY, "kim")
    ]


def test_a_switch_while_the_runner_was_down_counts_and_so_does_a_change_elsewhere(
    world: World,
) -> None:
    world.hold("07:00")
    world.switch("inactive", "07:30")
    world.restart()
    project.install(world.settings, world.home, at("07:40"))
    world.hold("07:40")
    assert world.schedule.current(at("07:40")).paused
    elsewhere = DailySchedule(  # another runner of this ledger, without this Mage project
        world.settings,
        Home(world.home.root / "elsewhere"),
        world.ledger,
        MageTables(lambda query, values: None),
    )
    elsewhere.change(ScheduleRequest.read({"paused": False}), "kim", at("07:50"))
    world.hold("07:50")
    assert world.trigger["status"] == "active"
    assert not world.schedule.current(at("07:50")).paused


def test_a_pause_in_mage_from_before_there_was_a_schedule_is_taken_over(world: World) -> None:
    world.switch("inactive", "07:00")  # and nothing was ever agreed on
    world.hold("07:30")
    assert world.schedule.current(at("07:30")).paused
    assert world.trigger["status"] == "inactive"


def test_a_ledger_that_was_restored_is_right_where_nobody_remembers(world: World) -> None:
    world.change("07:00", paused=True, why="inventory")
    world.home.mage_schedule.unlink()
    world.switch("active", "07:10")
    world.hold("07:10")
    assert world.trigger["status"] == "inactive"
    assert world.schedule.current(at("07:10")).paused


def test_what_mage_writes_before_it_has_read_the_pause_is_nobodys_switch(world: World) -> None:
    world.mage_says = "active"
    world.hold("07:00")
    world.change("07:10", build_at="09:00")
    world.change("07:10", by="lee", paused=True, why="inventory")
    world.switch("active", "07:10")  # Mage writes the new cron's trigger as it knew it
    world.hold("07:10")
    assert world.trigger["status"] == "inactive"
    world.mage_says = "inactive"
    world.hold("07:11")
    assert [change.by for change in world.schedule.outlook(at("07:11")).changes] == ["lee", "kim"]
    world.switch("active", "07:12")  # now it is somebody's
    world.mage_says = "active"
    world.hold("07:12")
    assert not world.schedule.current(at("07:12")).paused


def test_a_pause_that_is_ended_before_mage_has_read_it_stays_ended(world: World) -> None:
    world.mage_says = "active"
    world.hold("07:00:00")
    world.change("07:10:00", paused=True, why="inventory")
    assert world.trigger["status"] == "inactive"
    world.change("07:10:01", by="lee", paused=False)
    assert world.trigger["status"] == "active"
    world.switch("inactive", "07:10:05")  # Mage writes what it had read in between
    world.restart()
    world.hold("07:10:06")
    world.mage_says = "inactive"
    world.hold("07:10:09")
    assert world.trigger["status"] == "active"
    world.mage_says = "active"
    world.hold("07:10:40")
    assert [change.by for change in world.schedule.outlook(at("07:11")).changes] == ["lee", "kim"]
    world.switch("inactive", "07:12")  # now it is somebody's
    world.hold("07:12")
    assert world.schedule.current(at("07:12")).paused


@pytest.mark.parametrize("times", [2, 5])
def test_whatever_mage_still_writes_of_earlier_decisions_the_last_holds(
    world: World, times: int
) -> None:
    world.mage_says = "active"
    world.hold("07:00:00")
    for number in range(times):
        world.change(f"07:1{number}:10", paused=number % 2 == 0, why="inventory")
        world.hold(f"07:1{number}:15")
    paused = times % 2 == 1
    for back in ("active", "inactive", "active"):
        world.switch(back, f"07:1{times - 1}:20")
        world.hold(f"07:1{times - 1}:20")
    world.mage_says = "inactive" if paused else "active"
    world.hold("07:20:00")
    assert world.trigger["status"] == world.mage_says
    outlook = world.schedule.outlook(at("07:20"))
    assert outlook.schedule.paused is paused
    assert len(outlook.changes) == times and SOMEBODY not in {c.by for c in outlook.changes}


@pytest.mark.parametrize("wrong", ["", "{", "[]", '{"schedule": {}}', '{"paused": true}'])
def test_a_memory_that_cannot_be_read_is_none(world: World, wrong: str) -> None:
    world.change("07:00", build_at="09:00")
    world.home.mage_schedule.write_text(wrong)
    project.install(world.settings, world.home, at("07:10"))
    world.hold("07:10")
    assert world.trigger["schedule_interval"] == "0 0 * * *"
    assert world.trigger["status"] == "active"


def test_without_postgresql_what_was_known_last_is_told(world: World) -> None:
    world.change("07:00", paused=True, paused_until="2026-12-03T12:00", why="inventory")
    world.ledger.close()
    assert world.schedule.last_known(at("08:00")).paused
    assert not world.schedule.last_known(at("12:00", 3)).paused
