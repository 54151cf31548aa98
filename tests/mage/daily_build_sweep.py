"""A year of daily builds, on a clock of our own, with Mage's real scheduler rows and decisions.

Run by the Python of Mage's environment, with MAGE_DATABASE_CONNECTION_URL of a scratch database:
`python daily_build_sweep.py '{"zone": …}'`; prints JSON. Mage is imported before the clock is
frozen: pandas' compiled modules do not load on a frozen one. Each tick does what a
living workspace does: the runner calls `write_schedule`, Mage reads the triggers file into its
database (`sync_schedules`), asks `should_schedule`, makes the pipeline run, and the runner decides
what that run is. Downtimes are drawn at random; a workspace that comes up begins
with `install`, as ./scripts/start does.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import freezegun
import yaml
from freezegun.api import FakeDatetime
from mage_ai.data_preparation.models import triggers
from mage_ai.data_preparation.models.pipeline import Pipeline
from mage_ai.orchestration.db import db_connection, engine
from mage_ai.orchestration.db.models.base import Base
from mage_ai.orchestration.db.models.schedules import PipelineRun, PipelineSchedule
from mage_ai.orchestration.pipeline_scheduler_original import sync_schedules
from mage_ai.settings.repo import set_repo_path

from mage_dbt.home import Home
from mage_dbt.mage import project
from mage_dbt.model.daily_build import DailyBuild
from mage_dbt.model.schedule import Schedule
from mage_dbt.settings import Settings

# The frozen clock's times are a class of its own, which YAML does not know.
yaml.SafeDumper.add_representer(FakeDatetime, yaml.SafeDumper.represent_datetime)


def main(asked: dict[str, str | int]) -> dict[str, object]:
    zone = ZoneInfo(str(asked["zone"]))
    daily_build = DailyBuild(time.fromisoformat(str(asked["at"])), zone)
    first = date.fromisoformat(str(asked["first"]))
    days = [first + timedelta(days=n) for n in range(int(asked["days"]))]
    begin = datetime.combine(first, time(0), UTC) - timedelta(days=1)
    end = begin + timedelta(days=len(days) + 2)
    chance = random.Random(int(asked["seed"]))
    downs = _downtimes(begin, end, int(asked["downtimes"]), chance)
    ticks = _ticks(begin, end, daily_build, timedelta(minutes=int(asked["step_minutes"])), downs)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder), daily_build, chance)
        with freezegun.freeze_time(begin) as clock:
            for now in ticks:
                clock.move_to(now.replace(tzinfo=None))
                if any(start <= now < stop for start, stop in downs):
                    workspace.running = False
                else:
                    workspace.tick(now)
    return {
        "built": workspace.built,
        "declined": workspace.declined,
        "downs": [[start.isoformat(), stop.isoformat()] for start, stop in downs],
        "ticks": len(ticks),
    }


class Workspace:
    """The parts that decide about the daily build, on a scratch SQLite database."""

    def __init__(self, folder: Path, daily_build: DailyBuild, chance: random.Random) -> None:
        self._daily_build = daily_build
        self._chance = chance
        self._home = Home(folder)
        self._settings = Settings.load(
            {
                "DAILY_BUILD_TIMEZONE": str(daily_build.zone),
                "DAILY_BUILD_AT": f"{daily_build.at:%H:%M}",
                "WORKSPACE_HOME": str(folder),
            },
            file=folder / "no.env",
        )
        self._file = (
            self._home.mage_project / "pipelines" / project.DAILY_PIPELINE / "triggers.yaml"
        )
        set_repo_path(str(self._home.mage_project))
        Base.metadata.create_all(engine)
        db_connection.start_session()
        self._claimed: set[str] = set()
        self._seen = ""
        self._mage: Mage | None = None
        self.running = False
        self.built: list[dict[str, object]] = []
        self.declined: list[str] = []

    def tick(self, now: datetime) -> None:
        if not self.running:
            project.install(self._settings, self._home, now)
            self._mage = Mage(self._home.mage_project)
            self.running = True
            steps = [self._schedule]
        else:
            # The runner and Mage keep no order between them.
            steps = [self._write, self._schedule]
            self._chance.shuffle(steps)
        for step in steps:
            step(now)

    def _write(self, now: datetime) -> None:
        daily_build = self._daily_build
        schedule = Schedule.by_settings(daily_build.at, str(daily_build.zone))
        project.write_schedule(schedule, self._home, now)

    def _schedule(self, now: datetime) -> None:
        text = self._file.read_text()
        if text != self._seen:
            # Mage looks at the file's time, which the frozen clock does not make differ.
            self._seen = text
            stamp = self._file.stat().st_mtime + 1 + len(self.built)
            os.utime(self._file, (stamp, stamp))
        assert self._mage is not None
        if not self._mage.fires():
            return
        decision = self._daily_build.decide(now, self._claimed)
        if decision.builds:
            self._claimed.add(decision.key)
            self.built.append(
                {
                    "day": decision.day.isoformat(),
                    "at": now.isoformat(),
                    "due": decision.due.isoformat(),
                    "timing": decision.timing.value,
                    "late_minutes": decision.late_by.total_seconds() / 60,
                }
            )
        else:
            self.declined.append(f"{now.isoformat()} {decision.timing.value}")


class Mage:
    """Mage's own scheduling of one pipeline, as its scheduler loop does it."""

    def __init__(self, folder: Path) -> None:
        triggers.triggers_cache.clear()  # a new process knows nothing
        self._pipeline = Pipeline.get(project.DAILY_PIPELINE, repo_path=str(folder))

    def fires(self) -> bool:
        sync_schedules([project.DAILY_PIPELINE])
        schedule = PipelineSchedule.query.filter(
            PipelineSchedule.name == project.DAILY_TRIGGER
        ).one()
        if not schedule.should_schedule(pipeline=self._pipeline):
            return False
        PipelineRun.create(
            create_block_runs=False,
            execution_date=schedule.current_execution_date(),
            pipeline_schedule_id=schedule.id,
            pipeline_uuid=project.DAILY_PIPELINE,
        )
        return True


def _downtimes(
    begin: datetime, end: datetime, number: int, chance: random.Random
) -> list[tuple[datetime, datetime]]:
    """Some of minutes, some of hours, some of days; never at the very beginning."""
    minutes = int((end - begin) / timedelta(minutes=1))
    found = []
    for _ in range(number):
        start = begin + timedelta(minutes=chance.randrange(3000, minutes))
        longest = chance.choice((30, 600, 1500, 4000))
        found.append((start, start + timedelta(minutes=chance.randrange(2, longest))))
    return found


def _ticks(
    begin: datetime,
    end: datetime,
    daily_build: DailyBuild,
    step: timedelta,
    downs: list[tuple[datetime, datetime]],
) -> list[datetime]:
    """Every `step`, and close around what matters: dues, local midnights, ends of downtimes."""
    ticks = {begin + n * step for n in range(int((end - begin) / step))}
    midnight = DailyBuild(time(0), daily_build.zone)
    day = begin.date()
    while day <= end.date():
        ticks |= {daily_build.due(day) + timedelta(minutes=n) for n in (-1, 1, 7)}
        ticks.add(midnight.due(day) + timedelta(minutes=1))
        day += timedelta(days=1)
    ticks |= {stop for _, stop in downs}
    return sorted(tick for tick in ticks if begin <= tick <= end)


if __name__ == "__main__":
    answer = main(json.loads(sys.argv[1]))
    print("\n" + json.dumps(answer))
