"""What is not about one run: plans, models, the status, and what machines watch."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response

from mage_dbt.api import examples, schemas
from mage_dbt.api import metrics as exposition
from mage_dbt.api.metrics import Metrics
from mage_dbt.api.problems import declared
from mage_dbt.api.route import StrictRoute
from mage_dbt.api.runs import REQUEST_PROBLEMS, request_of
from mage_dbt.api.search import search
from mage_dbt.errors import NoCommitReady, RequestError
from mage_dbt.runner.service import Runner


def routes(runner: Runner, metrics: Metrics) -> APIRouter:
    """The endpoints that are not under /v1/runs."""
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
        responses={200: {"model": schemas.Status}, **declared((RequestError,))},
    )
    def status() -> JSONResponse:
        """The live commit, what is broken, what runs, the next morning build, each process."""
        return JSONResponse(runner.status())

    @router.get(
        "/v1/models",
        operation_id="list_models",
        response_class=JSONResponse,
        responses={
            200: {"model": schemas.Models},
            **declared((RequestError, NoCommitReady)),
        },
    )
    def models(
        text: Annotated[
            str,
            Query(alias="search", max_length=200, description="Words of a name or description."),
        ] = "",
        limit: Annotated[int, Query(ge=1, le=10_000, description="How many at most.")] = 100,
    ) -> JSONResponse:
        """Models, seeds and snapshots of the live commit, the best match first."""
        found = search(runner.models(), text)
        return JSONResponse({"models": [dict(one) for one in found[:limit]], "total": len(found)})

    @router.post(
        "/v1/plans",
        operation_id="plan",
        response_class=JSONResponse,
        response_description="What a run would do now.",
        responses={200: {"model": schemas.Plan}, **declared(REQUEST_PROBLEMS)},
    )
    def plan(
        http: HttpRequest,
        body: Annotated[schemas.RunRequest, Body(openapi_examples=examples.RUNS)],
    ) -> JSONResponse:
        """What a request would do: its nodes in order. Changes nothing, and takes seconds."""
        return JSONResponse(runner.plan(request_of(http, body, None)).to_json())

    return router
