"""Which attempt of a block this is; runs inside a block, in Mage's process.

Mage executes a block twice now and then, and again after a restart: the same attempt, which
attaches to the run that is there. "Retry incomplete blocks" executes it once more on purpose: a new
attempt, which takes up what the last one left. Mage keeps one row a block of a pipeline run
(`BlockRun`) through all of that and counts nothing, so an attempt that has ended leaves a note in
its `metrics`. On a busy machine Mage makes two rows for one block, one by its trigger and one
by its scheduler, and executes both: the first stands for the block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

NOTE = "mage_dbt"
"""Where in `BlockRun.metrics` the note of the last ended attempt is."""


@dataclass(frozen=True)
class Ended:
    """The note: the attempt's key, the run it took up, its own run, whether that passed, when."""

    key: str
    previous: str | None
    run: str
    passed: bool
    at: str


def idempotency_key(kwargs: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The attempt's idempotency key, and the failed run it takes up, if any.

    Both None in the notebook, where every execution is a run of its own.
    """
    if kwargs.get("pipeline_run_id") is None:
        return None, None
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import BlockRun

    # Columns, not the object: the session may hold the object as it was some time ago.
    number, created, started, status, metrics = (
        db_connection.session.query(
            BlockRun.pipeline_run_id,
            BlockRun.created_at,
            BlockRun.started_at,
            BlockRun.status,
            BlockRun.metrics,
        )
        .filter(
            BlockRun.pipeline_run_id == kwargs["pipeline_run_id"],
            BlockRun.block_uuid == kwargs["block_uuid"],
        )
        .order_by(BlockRun.id)
        .first()
    )
    over = status in (BlockRun.BlockRunStatus.COMPLETED, BlockRun.BlockRunStatus.FAILED)
    # The time tells this row from one with the same number in a metadata database made anew.
    base = f"mage:{_utc(created):%Y%m%d%H%M%S%f}:{number}:{kwargs['block_uuid']}"
    ended = (metrics or {}).get(NOTE)
    return attempt(base, started, over, Ended(**ended) if ended else None)


def attempt(
    base: str, started: datetime | None, over: bool, ended: Ended | None
) -> tuple[str, str | None]:
    """Key and previous run, given when Mage last started the block and the note it has.

    Mage notes a new start time at each execution of a block that has a note. One that started
    before the note was written, or that finds the block over, belongs to the attempt of the note.
    """
    if ended is None:
        return base, None
    if over or (started is not None and _utc(started) <= datetime.fromisoformat(ended.at)):
        return ended.key, ended.previous
    return after(base, ended.run), None if ended.passed else ended.run


def after(key: str, run: str) -> str:
    """The key of the attempt that follows `run`, whatever attempt `key` is of."""
    return f"{key.split(':after:', 1)[0]}:after:{run}"


def finished(
    kwargs: Mapping[str, Any], key: str | None, previous: str | None, run: str, failure: str = ""
) -> None:
    """Notes that this attempt has ended with `run`; `failure` is empty when everything passed.

    Call it before the block returns or raises. The failure is written where Mage keeps a block's
    error, because from the second failure on Mage forgets to save its own.
    """
    if key is None:
        return
    from mage_ai.orchestration.db.models.schedules import BlockRun

    block_run = (
        BlockRun.query.filter(
            BlockRun.pipeline_run_id == kwargs["pipeline_run_id"],
            BlockRun.block_uuid == kwargs["block_uuid"],
        )
        .order_by(BlockRun.id)
        .first()
    )
    note = Ended(key, previous, run, not failure, datetime.now(UTC).isoformat())
    metrics = {**(block_run.metrics or {}), NOTE: asdict(note)}
    metrics.pop("error", None)
    if failure:
        metrics["error"] = {"error": failure, "errors": failure.splitlines(), "message": failure}
    # A new dict: a changed one is not seen as changed, which is how Mage loses its own.
    block_run.update(metrics=metrics)


def store_output(kwargs: Mapping[str, Any], frame: pd.DataFrame) -> None:
    """Leaves the table as the block's output, for a block that is about to fail."""
    if kwargs.get("pipeline_run_id") is None:
        return
    from mage_ai.data_preparation.models.pipeline import Pipeline

    block = Pipeline.get(kwargs["pipeline_uuid"]).get_block(kwargs["block_uuid"])
    block.store_variables(
        {"output_0": frame}, execution_partition=kwargs.get("execution_partition")
    )


def _utc(time: datetime) -> datetime:
    """SQLite gives times back without their zone; Mage writes UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
