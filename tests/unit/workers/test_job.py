"""A job is read back from its run's folder as it was written."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from pathlib import Path

from mage_dbt.model.refresh import RefreshOptions
from mage_dbt.model.windows import Window
from mage_dbt.workers.job import JOB_FILE, Job, LeftOut

WINDOW = Window(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC))


def job_in(folder: Path) -> Job:
    """A job in which each field has another value than its default."""
    return Job(
        folder=folder,
        commit="3f2c1ab",
        project=folder / "project",
        parsed=folder / "parsed",
        dbt_arguments=("--profile", "embedded"),
        command="build",
        select=("tag:daily",),
        exclude=("raw",),
        flags=("--full-refresh",),
        variables={"since": date(2026, 1, 31), "limit": 3},
        caller="somebody@example.com",
        nodes={"model.shop.orders": "it failed"},
        planned=("model.shop.orders",),
        gaps={"model.shop.events": (WINDOW,)},
        begun_at=datetime(2026, 11, 29, 8, 0, tzinfo=UTC),
        left_out=(LeftOut({"model.shop.gone": "gone"}, "{names} {is} disabled."),),
        models=("orders",),
        with_upstream=True,
        with_downstream=True,
        added=("models/new.sql",),
        notes=("A note.",),
        target="prod",
        zone="Europe/Berlin",
        keep_views=True,
        fresh=True,
        refresh=RefreshOptions(rows_percent=(90, 110), override=("rows",)),
        restore_views=True,
        failing_rows=10,
        failing_rows_role="reader",
        resume="20261123-080000-4f2a9c",
        done=("aside", "batch"),
        drops_expired=True,
        details=True,
    )


def test_every_field_is_read_back(tmp_path: Path) -> None:
    job = job_in(tmp_path / "a-run")
    plain = replace(job, begun_at=None, variables={}, gaps={}, left_out=(), refresh=None)
    for written in (job, plain):
        written.write()
        assert Job.read(written.folder) == written
    defaults = {one.name: one.default for one in fields(Job)}
    assert [name for name, value in defaults.items() if getattr(job, name) == value] == []


def test_the_file_is_what_runners_before_this_one_wrote(tmp_path: Path) -> None:
    """A runner that comes back after an update reads the jobs of runs that were cut off."""
    job_in(tmp_path / "a-run").write()
    data = json.loads((tmp_path / "a-run" / JOB_FILE).read_text())
    window = ["2026-11-01T00:00:00+00:00", "2026-11-02T00:00:00+00:00"]
    assert data["gaps"] == {"model.shop.events": [window]}
    assert data["begun_at"] == "2026-11-29T08:00:00+00:00"
    assert data["left_out"] == [
        {"nodes": {"model.shop.gone": "gone"}, "how": "{names} {is} disabled."}
    ]
    assert data["variables"] == "limit: 3\nsince: 2026-01-31\n"
    assert "folder" not in data


def test_a_job_of_before_there_were_refreshes_aside_is_read(tmp_path: Path) -> None:
    job_in(tmp_path / "a-run").write()
    file = tmp_path / "a-run" / JOB_FILE
    data = json.loads(file.read_text())
    del data["refresh"], data["restore_views"]
    file.write_text(json.dumps(data))
    read = Job.read(tmp_path / "a-run")
    assert read.refresh is None and not read.restore_views
