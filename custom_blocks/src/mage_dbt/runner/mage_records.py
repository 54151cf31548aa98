"""Makes a Mage pipeline run for each run that did not come from Mage, so that Mage shows it too.

The run itself never waits for this. When Mage is down or slow, the pipeline run is made when Mage
is back, even if the run is over by then: its page shows the run's log and table all the same. After
a day the runner stops trying, and the ledger holds why.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mage_dbt.errors import LedgerUnreachable, MageUnreachable, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import Unrecorded
from mage_dbt.mage.api import MageApi
from mage_dbt.mage.tables import MageTables
from mage_dbt.model.request import Operation, Request
from mage_dbt.model.variables import shown, to_json
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

PATIENCE = timedelta(hours=24)
"""How long after its request the runner tries to make a run's pipeline run."""

LONGEST_PAUSE = 30.0
"""Seconds between two tries, which grow from 1 to this: Mage's own start takes as long."""

CLOCKS_APART = timedelta(days=1)
"""Mage's times are compared with ours only to keep the search of a large table short. A day covers
a database that takes Mage's UTC for its own zone."""

LONGEST_SHOWN = 500
"""Characters of a selection on the pipeline run's page."""


@dataclass
class _Hindrance:
    """Why no pipeline run can be made now, and when the next try is."""

    reason: str
    pause: float
    until: float


class MageRecords:
    """Makes the pipeline runs; `make_missing` is for one thread."""

    def __init__(self, settings: Settings, home: Home, ledger: Ledger, tables: MageTables) -> None:
        self._mage = MageApi(settings, home)
        self._ledger = ledger
        self._tables = tables
        self._hindrances: dict[str, _Hindrance] = {}
        self._asked_since = datetime.min.replace(tzinfo=UTC)

    def make_missing(self) -> None:
        """Makes each pipeline run that is missing and can be made now."""
        now = datetime.now(UTC)
        for run in self._ledger.without_mage_run(self._asked_since):
            pipeline = pipeline_of(run.request)
            if now - run.asked_at > PATIENCE:
                self._give_up(run, pipeline)
            elif not self._hindered("Mage") and not self._hindered(pipeline):
                self._try(run, pipeline)
        # Earlier runs are settled now; the second day is room for clocks set back.
        self._asked_since = now - 2 * PATIENCE

    def _try(self, run: Unrecorded, pipeline: str) -> None:
        try:
            number = self._make(run, pipeline)
        except LedgerUnreachable:
            raise
        except MageUnreachable as error:
            self._hinder("Mage", error)
        except WorkspaceError as error:
            self._free("Mage")
            self._hinder(pipeline, error)
        else:
            self._free("Mage")
            self._free(pipeline)
            self._ledger.has_mage_run(run.id, number)

    def _make(self, run: Unrecorded, pipeline: str) -> int:
        """The number of the run's pipeline run, made now unless Mage's table holds it already.

        An earlier try may have made it without hearing so, or an earlier runner just before its
        death. The table is read after Mage has answered, because a Mage that wakes first works off
        what it was sent before.
        """
        trigger = self._mage.api_trigger(pipeline)
        known = self._tables.made_for(run.id, pipeline, run.asked_at - CLOCKS_APART)
        return known or self._mage.fire(trigger, variables_of(run.id, run.request))

    def _give_up(self, run: Unrecorded, pipeline: str) -> None:
        hindrance = self._hindrances.get("Mage") or self._hindrances.get(pipeline)
        hours = round(PATIENCE.total_seconds() / 3600)
        last = f" Last: {hindrance.reason}" if hindrance else ""
        self._ledger.has_no_mage_run(
            run.id, f"Mage could not be made to show this run for {hours} h.{last}"
        )

    def _hindered(self, name: str) -> bool:
        found = self._hindrances.get(name)
        return found is not None and time.monotonic() < found.until

    def _hinder(self, name: str, error: WorkspaceError) -> None:
        before = self._hindrances.get(name)
        pause = min(LONGEST_PAUSE, before.pause * 2) if before else 1.0
        self._hindrances[name] = _Hindrance(str(error), pause, time.monotonic() + pause)
        if before is None:
            log.warning("runs go on, and are not seen in Mage for now: %s", error)

    def _free(self, name: str) -> None:
        if self._hindrances.pop(name, None):
            log.info("runs are seen in Mage again (%s)", name)


def pipeline_of(request: Request) -> str:
    """The pipeline that a person in Mage would have used for the request."""
    if request.operation is Operation.BUILD:
        return "single_model_rerun" if request.select or request.models else "daily_full_build"
    return {
        Operation.FULL_REFRESH: "incremental_full_refresh",
        Operation.UNDO_REFRESH: "undo_refresh",
        Operation.RERUN_FAILED: "rerun_failed",
        Operation.COMMAND: "dbt_command",
    }[request.operation]


def variables_of(run: str, request: Request) -> dict[str, Any]:
    """Variables of the pipeline run: the run to attach to, and what its page shows.

    Mage keeps and shows them as they are, so those that look secret have stars. They are only read.
    """
    model = " ".join((*request.select, *request.models))
    asked = {
        "model": model if len(model) <= LONGEST_SHOWN else model[: LONGEST_SHOWN - 1] + "…",
        "with_upstream": request.with_upstream,
        "with_downstream": request.with_downstream,
        "in_place": request.in_place,
        "event_time_start": request.event_time_start,
        "event_time_end": request.event_time_end,
        "command": request.command,
        "failed_run": request.of,
        "commit": request.commit,
        "variables": shown(to_json(request.variables)),
        "why": request.why,
        "asked_by": request.caller,
    }
    return {"run": run} | {name: value for name, value in asked.items() if value}
