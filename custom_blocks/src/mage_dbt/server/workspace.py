"""The state of the workspace: for people (`/v1/status`) and for machines that watch it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from mage_dbt.errors import LedgerUnreachable, RequestError
from mage_dbt.model.now import Now
from mage_dbt.model.problems import declared
from mage_dbt.model.published import Published
from mage_dbt.model.status import Status
from mage_dbt.runner.service import Runner
from mage_dbt.server import metrics as exposition
from mage_dbt.server import schemas
from mage_dbt.server.metrics import Metrics
from mage_dbt.server.strict_route import StrictRoute


def routes(runner: Runner, metrics: Metrics) -> APIRouter:
    """The endpoints that tell how the workspace is."""
    router = APIRouter(tags=["workspace"], route_class=StrictRoute)

    @router.get(
        "/ping",
        operation_id="ping",
        response_class=JSONResponse,
        responses={200: {"model": schemas.Ping}, **declared((RequestError,))},
    )
    def ping() -> JSONResponse:
        """Whether the runner is up; the only call without a token."""
        return JSONResponse("pong")

    @router.get(
        "/metrics",
        operation_id="metrics",
        response_class=Response,
        responses={
            200: {
                "description": "Prometheus' text format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **declared((RequestError,)),
        },
    )
    def prometheus() -> Response:
        """Counters and gauges for Prometheus."""
        return Response(metrics.text(), media_type=exposition.MEDIA_TYPE)

    @router.get(
        "/v1/status",
        operation_id="status",
        response_class=JSONResponse,
        responses={200: {"model": Status}, **declared((RequestError,))},
    )
    def status() -> JSONResponse:
        """The live commit, what is broken, what runs, the next daily build, each process."""
        return JSONResponse(runner.status().to_json())

    @router.get(
        "/v1/now",
        operation_id="now",
        response_class=JSONResponse,
        responses={200: {"model": Now}, **declared((RequestError, LedgerUnreachable))},
    )
    def now() -> JSONResponse:
        """How the newest full build stands, why it is red, what a rerun would be, what runs, the
        last 30 days."""
        return JSONResponse(runner.now().to_json())

    @router.get(
        "/v1/commits",
        operation_id="list_commits",
        response_class=JSONResponse,
        responses={200: {"model": Published}, **declared((RequestError, LedgerUnreachable))},
    )
    def commits() -> JSONResponse:
        """The live commit and since when, what is being made ready, what is broken, and the last
        commits of the branch with what became of each."""
        return JSONResponse(runner.published().to_json())

    return router
