"""08:00 in the team's zone, once a day, all year: Mage's own decision code on a clock of ours."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.model.daily_build import DailyBuild

SWEEP = Path(__file__).with_name("daily_build_sweep.py")

THOROUGH = int(os.environ.get("THOROUGH", 0))
"""THOROUGH=20: every zone, and a tick every 20 minutes (some hours); else two zones."""


@dataclass(frozen=True)
class Year:
    """A year to sweep: where, at what time, from which date, and with which downtimes."""

    zone: str
    at: str = "08:00"
    first: date = date(2026, 1, 1)
    seed: int = 1
    always: bool = False

    def __str__(self) -> str:
        return f"{self.zone} {self.at} {self.first:%Y}"


YEARS = (
    Year("Asia/Seoul", seed=1),
    Year("Europe/Berlin", seed=2, always=True),
    Year("Europe/Berlin", at="02:30", seed=3),  # skipped in March, twice in October
    Year("America/New_York", seed=4),
    Year("Australia/Lord_Howe", seed=5, always=True),  # clocks change by half an hour
    Year("Asia/Kathmandu", at="00:00", seed=6),  # +05:45, and on the very edge of the date
    Year("America/St_Johns", at="00:05", seed=7),
    Year("Pacific/Chatham", at="23:59", seed=8),  # +12:45 and +13:45
    Year("Pacific/Apia", first=date(2011, 1, 1), seed=9),  # had no 30 December 2011
    Year("Africa/Cairo", at="00:00", first=date(2025, 1, 1), seed=10),  # midnight is skipped
)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("year", [one for one in YEARS if one.always or THOROUGH], ids=str)
def test_each_daily_build_runs_exactly_once_or_once_late_or_not_at_all(
    year: Year, mage_python: Path, tmp_path: Path
) -> None:
    asked = {
        "zone": year.zone,
        "at": year.at,
        "first": year.first.isoformat(),
        "days": 365,
        "seed": year.seed,
        "downtimes": 40,
        "step_minutes": THOROUGH or 720,
    }
    done = subprocess.run(
        [mage_python, SWEEP, json.dumps(asked)],
        env={
            "HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(SWEEP.parents[2] / "custom_blocks" / "src"),
            "MAGE_DATA_DIR": str(tmp_path / "data"),
            "MAGE_DATABASE_CONNECTION_URL": f"sqlite:///{tmp_path}/mage.db",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    built = {one["day"]: one for one in answer["built"]}
    assert len(built) == len(answer["built"]), "a day was built twice"
    downs = [tuple(map(datetime.fromisoformat, down)) for down in answer["downs"]]
    daily_build = DailyBuild(time.fromisoformat(year.at), ZoneInfo(year.zone))
    late = missed = 0
    for day in (year.first + timedelta(days=n) for n in range(365)):
        due = daily_build.due(day)
        if due.astimezone(daily_build.zone).date() != day:
            assert day.isoformat() not in built, "a date that the zone skipped"
            continue
        up = _up_again(due + timedelta(minutes=1), downs)
        if up == due + timedelta(minutes=1):
            one = built[day.isoformat()]
            assert one["timing"] == "on time"
            assert timedelta(0) <= datetime.fromisoformat(one["at"]) - due <= timedelta(minutes=2)
        elif up - due <= timedelta(minutes=5) or up.astimezone(daily_build.zone).date() == day:
            one = built[day.isoformat()]
            assert datetime.fromisoformat(one["at"]) - up <= timedelta(minutes=2)
            late += one["timing"] == "late"
        else:
            assert day.isoformat() not in built, "a missed daily build was made up for"
            missed += 1
    # A build due at 23:59 is on time, or the date is over.
    assert missed and (late or year.at == "23:59"), "these downtimes prove nothing: another seed"
    # A date of 25 hours holds the old cron's minute twice when it is close to midnight.
    assert len(answer["declined"]) <= 1, "Mage fired when no build was due"


def _up_again(moment: datetime, downs: list[tuple[datetime, ...]]) -> datetime:
    """When the workspace runs next, at `moment` or after it; downtimes may overlap."""
    moment = moment.astimezone(UTC)
    while True:
        ends = [stop for start, stop in downs if start <= moment < stop]
        if not ends:
            return moment
        moment = max(ends)
