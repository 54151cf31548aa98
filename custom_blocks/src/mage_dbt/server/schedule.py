"""The daily build's schedule: look at it, and change it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse

from mage_dbt.errors import LedgerUnreachable, RequestError
from mage_dbt.identity import rights
from mage_dbt.model.problems import declared
from mage_dbt.model.schedule import Outlook
from mage_dbt.model.schedule_change import ScheduleRequest
from mage_dbt.runner.service import Runner
from mage_dbt.server import schemas
from mage_dbt.server.caller import caller_of
from mage_dbt.server.schemas import BODY_PROBLEMS
from mage_dbt.server.strict_route import StrictRoute

SCHEDULE = "/v1/schedule"

WHAT = "Changing the daily build's time or pause"


def routes(runner: Runner) -> APIRouter:
    """The endpoints of the schedule."""
    router = APIRouter(tags=["workspace"], route_class=StrictRoute)

    @router.get(
        SCHEDULE,
        operation_id="show_schedule",
        response_class=JSONResponse,
        responses={200: {"model": Outlook}, **declared((RequestError, LedgerUnreachable))},
    )
    def show_schedule() -> JSONResponse:
        """When the daily build begins, whether it is paused, the next builds, the last changes."""
        return JSONResponse(runner.schedule.outlook(datetime.now(UTC)).to_json())

    @router.put(
        SCHEDULE,
        operation_id="change_schedule",
        response_class=JSONResponse,
        responses={
            200: {"model": Outlook, "description": "The schedule that holds now, in Mage too."},
            **declared((*BODY_PROBLEMS, LedgerUnreachable)),
        },
    )
    def change_schedule(
        http: HttpRequest,
        body: Annotated[ScheduleRequest, Body(openapi_examples=schemas.SCHEDULES)],
    ) -> JSONResponse:
        """Changes the time or the pause; what is left out stays. For operators."""
        caller = caller_of(http.scope)
        rights.require(caller.role, rights.WORKSPACE, WHAT)
        by = caller.recorded_as((body.by or "").strip())
        return JSONResponse(runner.schedule.change(body, by, datetime.now(UTC)).to_json())

    return router
