"""What the runner reads of Mage's own tables, in the schema `mage` of the workspace's database.

The tables are Mage's, of the version that requirements.txt names. Before Mage's first start they do
not exist, and in another version they may look different: then nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

Select = Callable[[str, Sequence[Any]], "Sequence[dict[str, Any]] | None"]
"""Runs a query with its values; returns its rows, None when a table or column is not there."""


class MageTables:
    """Reads Mage's pipeline runs. Every method raises what `select` raises."""

    def __init__(self, select: Select) -> None:
        self._select = select

    def pipeline(self, mage_run: int) -> str | None:
        """The pipeline of a pipeline run; None when Mage does not know the pipeline run."""
        rows = self._select("select pipeline_uuid from mage.pipeline_run where id = %s", [mage_run])
        return rows[0]["pipeline_uuid"] if rows else None

    def cancelled(self, mage_runs: Sequence[int]) -> dict[int, str]:
        """Which of these pipeline runs were cancelled, and by whom; empty where Mage does not know
        the person, because it has no login."""
        rows = self._select(
            "select id, coalesce(variables ->> 'cancelled_by', '') as by"
            " from mage.pipeline_run where id = any(%s)"
            " and lower(status::text) = 'cancelled'",
            [list(mage_runs)],
        )
        return {row["id"]: row["by"] for row in rows or ()}

    def trigger_status(self, pipeline: str, name: str) -> str | None:
        """Whether Mage holds the trigger for `active` or `inactive`; None when it does not know it.

        Mage reads it from the trigger's file, some seconds after that has changed.
        """
        rows = self._select(
            "select lower(status::text) as status from mage.pipeline_schedule"
            " where pipeline_uuid = %s and name = %s order by id limit 1",
            [pipeline, name],
        )
        return rows[0]["status"] if rows else None

    def made_for(self, run: str, pipeline: str, since: datetime) -> int | None:
        """The first pipeline run of `pipeline` since then that is to show this run of ours."""
        rows = self._select(
            "select id from mage.pipeline_run"
            " where pipeline_uuid = %s and execution_date >= %s and variables ->> 'run' = %s"
            " order by id limit 1",
            [pipeline, since, run],
        )
        return rows[0]["id"] if rows else None
