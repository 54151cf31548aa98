"""Alerts: who gets them, what became of the last ones, and a test message."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse

from mage_dbt.errors import Conflict, LedgerUnreachable, RequestError
from mage_dbt.identity import rights
from mage_dbt.model.alert import AlertOverview
from mage_dbt.model.problems import declared
from mage_dbt.runner.service import Runner
from mage_dbt.server import schemas
from mage_dbt.server.caller import caller_of
from mage_dbt.server.strict_route import StrictRoute


def routes(runner: Runner) -> APIRouter:
    """The endpoints of alerts."""
    router = APIRouter(prefix="/v1/alerts", tags=["workspace"], route_class=StrictRoute)

    @router.get(
        "",
        operation_id="show_alerts",
        response_class=JSONResponse,
        responses={200: {"model": AlertOverview}, **declared((RequestError, LedgerUnreachable))},
    )
    def show_alerts() -> JSONResponse:
        """Who gets alerts, and the last ones with what became of them; never an address."""
        return JSONResponse(runner.alerts().to_json())

    @router.post(
        "/test",
        operation_id="test_alerts",
        response_class=JSONResponse,
        responses={200: {"model": schemas.AlertTest}, **declared((RequestError, Conflict))},
    )
    def test_alerts(http: HttpRequest) -> JSONResponse:
        """Sends a test message on every channel, once in ten seconds. For operators."""
        rights.require(caller_of(http.scope).role, rights.WORKSPACE, "Sending a test message")
        sent = [
            {
                "channel": outcome.channel,
                "delivered": not outcome.problem,
                "problem": outcome.problem,
            }
            for outcome in runner.send_test_alert()
        ]
        return JSONResponse({"channels": sent})

    return router
