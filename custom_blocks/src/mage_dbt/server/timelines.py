"""When each node of a run was built."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field

from mage_dbt.errors import LedgerUnreachable, NotFound, RequestError
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.run_view import RunView
from mage_dbt.model.problems import declared
from mage_dbt.model.timeline import Bar
from mage_dbt.server.runs import RUNS, RunId
from mage_dbt.server.schemas import Answer, Moment
from mage_dbt.server.strict_route import StrictRoute


class TimelineBar(Answer):
    """One node that was executed."""

    node: str
    name: str
    type: str
    status: str
    begun_at: Moment
    ended_at: Moment
    lane: int = Field(description="From 0; the first that was free, as dbt names no thread.")
    critical: bool = Field(description="Whether the run could not have ended without its time.")


class Timeline(Answer):
    """The executed nodes, by their start."""

    bars: list[TimelineBar]
    lanes: int = Field(description="The most nodes at once.")
    at_once: float = Field(description="The mean number of nodes at once.")
    critical_seconds: float = Field(
        description="The longest chain of nodes that waited for each other: with any number of "
        "threads the run takes as long."
    )


def routes(ledger: Ledger) -> APIRouter:
    """The endpoint that gives a run's timeline."""
    router = APIRouter(prefix=RUNS, tags=["runs"], route_class=StrictRoute)
    view = RunView(ledger)

    @router.get(
        "/{run}/timeline",
        operation_id="show_timeline",
        response_class=JSONResponse,
        responses={
            200: {"model": Timeline},
            **declared((NotFound, RequestError, LedgerUnreachable)),
        },
    )
    def show_timeline(run: RunId) -> JSONResponse:
        """When each node of a run was built so far, and which chain of them decided the time."""
        view.run(run)
        timeline = view.timeline(run)
        return JSONResponse(
            {
                "bars": [_bar(bar, timeline.critical_nodes) for bar in timeline.bars],
                "lanes": timeline.lanes,
                "at_once": timeline.at_once,
                "critical_seconds": timeline.critical_seconds,
            }
        )

    return router


def _bar(bar: Bar, critical: frozenset[str]) -> dict[str, Any]:
    return {
        "node": bar.node,
        "name": bar.name,
        "type": bar.type,
        "status": bar.status,
        "begun_at": datetime.fromtimestamp(bar.begun, UTC).isoformat(),
        "ended_at": datetime.fromtimestamp(bar.ended, UTC).isoformat(),
        "lane": bar.lane,
        "critical": bar.node in critical,
    }
