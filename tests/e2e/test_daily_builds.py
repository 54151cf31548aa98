"""The daily build with the real Mage and the real clock: on time, once, or once and late."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from mage_dbt.client.client import RunnerClient
from mage_dbt.mage import project
from mage_dbt.mage.project import DAILY_PIPELINE, DAILY_TRIGGER
from mage_dbt.model.run import Run
from tests.harness.waiting import SECONDS, wait_until
from tests.harness.workspace import Workspace

pytestmark = pytest.mark.side_by_side

AHEAD = timedelta(minutes=3)


def daily_builds(live: Workspace) -> list[Run]:
    return [run for run in RunnerClient(live.home.runner_socket).runs(limit=100) if run.morning]


def until_a_daily_build_is_over(live: Workspace, seconds: float = SECONDS) -> Run:
    def probe() -> Run | str:
        found = daily_builds(live)
        if not found:
            return "no daily build yet"
        return found[0] if found[0].state.final else f"it is {found[0].state}"

    return wait_until("the daily build to be over", probe, seconds)


def comes_soon(live: Workspace) -> datetime:
    """Sets another time for the daily build, and gives it: long enough ahead for Mage to know of
    it, however long the start has taken."""
    zone = ZoneInfo(live.settings.daily_build_timezone)
    due = (datetime.now(zone) + AHEAD).replace(second=0, microsecond=0)
    live.client.change_schedule(build_at=f"{due:%H:%M}", by="kim")
    return due


def test_the_daily_build_runs_once_on_time_and_a_missed_one_once_and_late(
    tmp_path: Path,
) -> None:
    live = Workspace.on_project(tmp_path, "steps", DAILY_BUILD_AT="17:00")
    try:
        live.start_and_wait()
        due = comes_soon(live)
        assert daily_builds(live) == []  # the start's own build is not the daily build of its date
        run = until_a_daily_build_is_over(live, AHEAD.total_seconds() + SECONDS)
        assert run.cause == "schedule" and run.late_seconds == 0, run
        assert run.asked_at >= due
        live.client.change_schedule(reset=True)
        live.stop()

        # A time that is past already when the workspace comes up again: Mage fires once more,
        # and finds that the date has its build.
        live.environ["DAILY_BUILD_AT"] = f"{due - timedelta(hours=2):%H:%M}"
        live.start_and_wait()
        wait_until("Mage to fire again", lambda: completed_in_mage(live) >= 3 or "it has not")
        assert [one.id for one in daily_builds(live)] == [run.id]
        live.stop()
    finally:
        if live._process is not None and live._process.poll() is None:
            live.stop()


def begun_by_hand(live: Workspace) -> int:
    """What Run@once does on the page of the trigger "Every morning"; gives the pipeline run."""

    def trigger() -> int | str:
        found = http.get(f"/api/pipelines/{DAILY_PIPELINE}/pipeline_schedules").json()
        daily = [one for one in found["pipeline_schedules"] if one["name"] == DAILY_TRIGGER]
        return int(daily[0]["id"]) if daily else "Mage does not know it yet"

    with httpx.Client(base_url=live.mage_url, timeout=SECONDS, trust_env=False) as http:
        number = wait_until("the daily trigger", trigger)
        path = f"/api/pipeline_schedules/{number}/pipeline_runs"
        made = http.post(path, json={"pipeline_run": {"variables": {}}}).json()
    return int(made["pipeline_run"]["id"])


def completed_in_mage(live: Workspace) -> int:
    """How many of Mage's runs of the daily pipeline are completed."""
    address = f"http://127.0.0.1:{live.settings.mage_port}/api/pipeline_runs"
    asked = {"pipeline_uuid": "daily_full_build"}
    runs = httpx.get(address, params=asked, timeout=SECONDS, trust_env=False).json()[
        "pipeline_runs"
    ]
    return sum(run["status"] == "completed" for run in runs)


def test_a_missed_daily_build_runs_once_and_says_how_late(tmp_path: Path) -> None:
    live = Workspace.on_project(tmp_path, "steps", DAILY_BUILD_AT="17:00")
    try:
        live.start_and_wait()
        early = begun_by_hand(live)
        assert live.ended(early) == "completed"
        mine = live.run_of(early)
        assert (mine.cause, mine.caller, mine.morning) == ("form", "somebody in Mage", None)
        assert len(mine.nodes) > 5 and live.table(early)["facts"]["status"] == "success"
        log = live.block_log("daily_full_build", early)
        assert "comes at 17:00" in log and "this one is beside it, now" in log
        live.stop()
        live.environ["DAILY_BUILD_AT"] = "10:30"
        live.start_and_wait()
        run = until_a_daily_build_is_over(live)
        assert run.cause == "schedule"
        assert 30 * 60 < run.late_seconds < 3 * 3600
        assert len(daily_builds(live)) == 1

        runs = len(live.client.runs(limit=500))
        again = begun_by_hand(live)
        assert live.ended(again) == "completed"
        assert f"is there already (run {run.id}, Success)" in live.block_log(
            "daily_full_build", again
        )
        assert live.table(again)["facts"]["status"] == "success"
        assert len(live.client.runs(limit=500)) == runs
    finally:
        live.stop()


def test_a_time_and_a_pause_hold_in_mage_and_a_switch_in_mage_holds_here(
    workspace: Workspace,
) -> None:
    client = RunnerClient(workspace.home.runner_socket)
    zone = ZoneInfo(workspace.settings.daily_build_timezone)
    with httpx.Client(base_url=workspace.mage_url, trust_env=False, timeout=SECONDS) as mage:

        def trigger() -> dict[str, Any]:
            path = f"/api/pipelines/{DAILY_PIPELINE}/pipeline_schedules"
            found = mage.get(path).json()["pipeline_schedules"]
            return next(item for item in found if item["name"] == DAILY_TRIGGER)

        def until(name: str, value: str) -> None:
            def probe() -> bool | str:
                return trigger()[name] == value or f"it is {trigger()[name]}"

            wait_until(f"Mage's trigger to have {value}", probe)

        def cron(at: time) -> str:
            due = datetime.combine(datetime.now(zone), at, zone).astimezone(UTC)
            return f"{due.minute} {due.hour} * * *"

        def agreed() -> bool | str:
            found = project.agreed(workspace.home)
            return found == project.Agreed(client.schedule().schedule, False) or str(found)

        try:
            client.change_schedule(build_at="23:58", by="kim")
            until("schedule_interval", cron(time(23, 58)))
            client.change_schedule(paused=True, why="inventory", by="kim")
            until("status", "inactive")
            # Mage's own page switches it on again.
            number = trigger()["id"]
            wait_until("both to agree", lambda: paused_in_both(workspace) or "not yet")
            on = {"pipeline_schedule": {"id": number, "status": "active"}}
            mage.put(f"/api/pipeline_schedules/{number}", json=on)

            def resumed() -> bool | str:
                schedule = client.schedule().schedule
                return not schedule.paused or f"paused, {schedule.by}"

            wait_until("the schedule to have Mage's switch", resumed)
            assert client.schedule().changes[0].by == "somebody in Mage"
            wait_until("both to agree again", agreed)
            assert trigger()["status"] == "active"
        finally:
            client.change_schedule(reset=True)
            until("schedule_interval", cron(time(8)))


def paused_in_both(live: Workspace) -> bool:
    found = project.agreed(live.home)
    return found is not None and found.paused
