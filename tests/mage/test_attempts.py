"""Double executions and retries, produced for real in a real Mage."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mage_dbt.mage.attempt import key_after
from tests.harness.mage import Mage
from tests.harness.pipelines import HOLD
from tests.harness.waiting import wait_until

TWICE = Path(__file__).with_name("twice.py")

BLOCK = (
    HOLD
    + '''
import json, os, time
from pathlib import Path
import pandas as pd
from mage_dbt.mage.attempt import of_block, record_end, store_output

@custom
def run(*args, **kwargs):
    """Stands for a run: notes the attempt, waits, and fails or passes."""
    key, previous = of_block(kwargs)
    notes = Path(os.environ["HOME"]) / f"notes-{kwargs['pipeline_run_id']}"
    notes.mkdir(exist_ok=True)
    number = len(list(notes.iterdir()))
    note = notes.with_name(f"{notes.name}-{os.getpid()}")
    note.write_text(json.dumps({"key": key, "previous": previous}))
    note.rename(notes / f"{number}-{os.getpid()}")  # whole, whenever somebody reads it
    while len(list(notes.iterdir())) < kwargs.get("at_once", 1):
        time.sleep(0.05)
    hold()
    run = f"20261123-080000-{number:06x}"
    frame = pd.DataFrame([{"node": "fct_orders", "status": "error"}])
    if number < kwargs.get("fails", 0):
        store_output(kwargs, frame)
        record_end(kwargs, key, previous, run, f"run {run} failed")
        raise RuntimeError(f"run {run} failed")
    record_end(kwargs, key, previous, run)
    return frame
'''
)


@pytest.fixture(scope="module")
def attempts(mage: Mage) -> Mage:
    mage.add_pipeline("attempts", BLOCK)
    return mage


def notes(mage: Mage, number: int) -> list[dict[str, Any]]:
    """What each execution of a pipeline run's block noted, in order."""
    folder = mage.home.root / f"notes-{number}"
    return [json.loads(one.read_text()) for one in sorted(folder.glob("*"))]


def test_each_retry_takes_up_the_run_before_it(attempts: Mage) -> None:
    number = attempts.trigger("attempts", fails=2)
    assert attempts.ended(number) == "failed"
    for expected in ("failed", "completed"):
        attempts.retry(number)
        assert attempts.ended(number) == expected
    first, second, third = notes(attempts, number)
    runs = [f"20261123-080000-{n:06x}" for n in range(2)]
    assert first["previous"] is None
    assert second == {"key": key_after(first["key"], runs[0]), "previous": runs[0]}
    assert third == {"key": key_after(first["key"], runs[1]), "previous": runs[1]}


def test_a_failed_block_shows_its_table_and_the_newest_failure(attempts: Mage) -> None:
    number = attempts.trigger("attempts", fails=9)
    assert attempts.ended(number) == "failed"
    attempts.retry(number)
    assert attempts.ended(number) == "failed"
    block_run = attempts.pipeline_run(number)["block_runs"][0]
    (shown,) = attempts.shown(number)
    assert block_run["metrics"]["error"]["error"] == "run 20261123-080000-000001 failed"
    assert shown["sample_data"]["rows"] == [["fct_orders", "error"]]


@pytest.mark.parametrize("rows", ["1", "2"])
def test_two_executions_at_once_are_one_attempt(tmp_path: Path, rows: str) -> None:
    mage = Mage(tmp_path)
    mage.add_pipeline("twice", BLOCK)
    done = subprocess.run(
        [mage.python, TWICE, mage.home.mage_project, "twice", rows],
        env=mage.environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = notes(mage, int(done.stdout.rsplit("run ", 1)[1]))
    assert first == second
    assert first["previous"] is None


def test_pipeline_runs_never_share_a_key(attempts: Mage) -> None:
    numbers = [attempts.trigger("attempts") for _ in range(2)]
    assert [attempts.ended(number) for number in numbers] == ["completed", "completed"]
    keys = {note["key"] for number in numbers for note in notes(attempts, number)}
    assert len(keys) == 2


def test_a_block_that_mage_died_in_is_executed_again_as_the_same_attempt(
    attempts: Mage,
) -> None:
    with attempts.blocks_held():
        number = attempts.trigger("attempts")
        wait_until("the block", lambda: bool(notes(attempts, number)) or "not yet")
        attempts.stop()
        attempts.start()
    assert attempts.ended(number) == "completed"
    first, second = notes(attempts, number)
    assert first == second
