"""Which attempt of a block an execution is. Runs inside a block, in Mage's process.

Mage executes a block again after a restart, and as the package brings it sometimes twice at once
(`patches/`). That is the same attempt, and it attaches to the run that exists. "Retry incomplete
blocks" executes the block on purpose: that is a new attempt, which continues the run of the last
one. Through all of that Mage keeps one row for each block of a pipeline run (`BlockRun`) and counts
nothing. So an attempt that has ended leaves a note in the row's `metrics`. Where a block has two
rows, the first one counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

NOTE = "mage_dbt"
"""The key in `BlockRun.metrics` of the note on the attempt that ended last."""


@dataclass(frozen=True)
class EndedAttempt:
    """The note on an attempt that has ended.

    `key` is the attempt's idempotency key, `previous` the run that it continued, `run` its own run,
    `at` the time of its end in ISO format.
    """

    key: str
    previous: str | None
    run: str
    passed: bool
    at: str


def of_block(kwargs: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The idempotency key of a block's attempt, and the failed run that it continues, if any.

    `kwargs` are the block's arguments. Both are None in the notebook, where each execution is a run
    of its own.
    """
    if kwargs.get("pipeline_run_id") is None:
        return None, None
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import BlockRun

    # Columns, not the object: the session may hold an older state of the object.
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
    # The time is part of the key: a new metadata database uses the same numbers again.
    base = f"mage:{_utc(created):%Y%m%d%H%M%S%f}:{number}:{kwargs['block_uuid']}"
    note = (metrics or {}).get(NOTE)
    return decide(base, started, over, EndedAttempt(**note) if note else None)


def decide(
    base: str, started: datetime | None, over: bool, ended: EndedAttempt | None
) -> tuple[str, str | None]:
    """The key of the attempt and the run that it continues.

    `base` is the key of the first attempt, `started` the time when Mage last started the block,
    `over` whether the block has ended in Mage, `ended` the note on the last ended attempt. Mage
    writes a new start time at each execution of a block that has a note. So an execution that
    started before the note, or that finds the block over, belongs to the attempt of the note.
    """
    if ended is None:
        return base, None
    if over or (started is not None and _utc(started) <= datetime.fromisoformat(ended.at)):
        return ended.key, ended.previous
    return key_after(base, ended.run), None if ended.passed else ended.run


def key_after(key: str, run: str) -> str:
    """The key of the attempt that follows `run`; `key` is that of any attempt of the block."""
    return f"{key.split(':after:', 1)[0]}:after:{run}"


def record_end(
    kwargs: Mapping[str, Any], key: str | None, previous: str | None, run: str, failure: str = ""
) -> None:
    """Writes the note that this attempt has ended with `run`; `failure` is empty when it passed.

    Call it before the block returns or raises. It writes the failure where Mage keeps a block's
    error, because Mage does not save its own from the second failure on.
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
    note = EndedAttempt(key, previous, run, not failure, datetime.now(UTC).isoformat())
    metrics = {**(block_run.metrics or {}), NOTE: asdict(note)}
    metrics.pop("error", None)
    if failure:
        metrics["error"] = {"error": failure, "errors": failure.splitlines(), "message": failure}
    # A new dict: SQLAlchemy does not see a change inside one, which is how Mage loses its own.
    block_run.update(metrics=metrics)


def store_output(kwargs: Mapping[str, Any], frame: pd.DataFrame) -> None:
    """Leaves the table as the output of a block that is about to fail."""
    if kwargs.get("pipeline_run_id") is None:
        return
    from mage_ai.data_preparation.models.pipeline import Pipeline

    block = Pipeline.get(kwargs["pipeline_uuid"]).get_block(kwargs["block_uuid"])
    block.store_variables(
        {"output_0": frame}, execution_partition=kwargs.get("execution_partition")
    )


def _utc(time: datetime) -> datetime:
    """SQLite returns times without their zone; Mage writes UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
