"""The morning build with the real Mage and the real clock: on time, once, or once and late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from mage_dbt.client import RunnerClient
from mage_dbt.mage.project import DAILY_PIPELINE, DAILY_TRIGGER
from mage_dbt.run import Run
from tests.harness.waiting import wait_until
from tests.harness.workspace import Workspace

pytestmark = pytest.mark.side_by_side


def midday_zone(now: datetime) -> str:
    """A zone in which it is about noon, so that no test of a morning meets midnight."""
    ahead = 12 - now.hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"


def mornings(live: Workspace) -> list[Run]:
    return [run for run in RunnerClient(live.home.runner_socket).runs(limit=100) if run.morning]


def until_a_morning_is_over(live: Workspace, seconds: float) -> Run:
    def probe() -> Run | str:
        found = mornings(live)
        if not found:
            return "no morning build yet"
        return found[0] if found[0].state.final else f"it is {found[0].state}"

    return wait_until("the morning build to be over", probe, seconds)


@pytest.mark.timeout(600)
def test_the_morning_is_built_once_on_time_and_one_slept_through_once_and_late(
    tmp_path: Path,
) -> None:
    now = datetime.now(UTC)
    zone = midday_zone(now)
    due = now + timedelta(minutes=3)
    live = Workspace.on_project(
        tmp_path,
        "steps",
        DAILY_BUILD_TIMEZONE=zone,
        DAILY_BUILD_AT=f"{12:02d}:{due.minute:02d}",
    )
    # The hour is noon in that zone, unless the minutes roll over into the next hour.
    if due.hour != now.hour:
        live.environ["DAILY_BUILD_AT"] = f"13:{due.minute:02d}"
    try:
        live.start_and_wait()
        assert mornings(live) == []  # the start's own build is not the morning's
        run = until_a_morning_is_over(live, 300)
        assert run.cause == "schedule" and run.late_seconds == 0, run
        assert run.asked_at.astimezone(UTC).minute in (due.minute, due.minute + 1)
        live.stop()

        # A time that is past already when the workspace comes up again: Mage fires once more,
        # and finds that the date has its build.
        hour, minute = live.environ["DAILY_BUILD_AT"].split(":")
        live.environ["DAILY_BUILD_AT"] = f"{int(hour) - 2:02d}:{minute}"
        live.start_and_wait()
        wait_until("Mage to fire again", lambda: completed_in_mage(live) >= 3 or "it has not", 60)
        assert [one.id for one in mornings(live)] == [run.id]
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

    with httpx.Client(base_url=live.mage_url, timeout=30, trust_env=False) as http:
        number = wait_until("the daily trigger", trigger, 60)
        path = f"/api/pipeline_schedules/{number}/pipeline_runs"
        made = http.post(path, json={"pipeline_run": {"variables": {}}}).json()
    return int(made["pipeline_run"]["id"])


def completed_in_mage(live: Workspace) -> int:
    """How many of Mage's runs of the daily pipeline are completed."""
    address = f"http://127.0.0.1:{live.settings.mage_port}/api/pipeline_runs"
    asked = {"pipeline_uuid": "daily_full_build"}
    runs = httpx.get(address, params=asked, timeout=30, trust_env=False).json()["pipeline_runs"]
    return sum(run["status"] == "completed" for run in runs)


@pytest.mark.timeout(400)
def test_a_morning_slept_through_is_built_once_and_says_how_late(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    zone = midday_zone(now)
    live = Workspace.on_project(
        tmp_path,
        "steps",
        DAILY_BUILD_TIMEZONE=zone,
        DAILY_BUILD_AT="17:00",
    )
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
        run = until_a_morning_is_over(live, 120)
        assert run.cause == "schedule"
        assert 30 * 60 < run.late_seconds < 3 * 3600
        assert len(mornings(live)) == 1

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
