"""Runs: list them, look at one, cancel one, let one swap, find its page in Mage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Body, Query
from fastapi import Path as InPath
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, RedirectResponse

from mage_dbt.errors import Conflict, LedgerUnreachable, NotFound, RequestError, UnknownOperation
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.listing import LARGEST_MAGE_RUN, LONGEST_FILTER, RunFilter
from mage_dbt.ledger.run_view import RunView
from mage_dbt.mage.api import MageApi
from mage_dbt.mage.tables import MageTables
from mage_dbt.model import variables
from mage_dbt.model.problems import declared
from mage_dbt.model.request import CauseName, OperationName
from mage_dbt.model.run import Run
from mage_dbt.runner.service import Runner
from mage_dbt.server import schemas
from mage_dbt.server.caller import caller_of
from mage_dbt.server.large_json import LargeJson, PartlyWritten
from mage_dbt.server.schemas import BODY_PROBLEMS
from mage_dbt.server.strict_route import StrictRoute
from mage_dbt.settings import Settings

RUNS = "/v1/runs"

RUN_PATTERN = r"^[0-9]{8}-[0-9]{6}-[0-9a-f]{6}$"

RunId = Annotated[
    str,
    InPath(description="A run's id.", max_length=200, examples=[schemas.RUN_EXAMPLE]),
]

LOCATION: dict[str, Any] = {
    "Location": {
        "description": "The address.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    }
}
"""The header of an answer that names another address, for OpenAPI."""

RUN_LINKS: dict[str, Any] = {
    name: {"operationId": name, "parameters": {"run": "$response.body#/id"}}
    for name in ("show_run", "follow_run", "cancel_run", "swap_run")
}
"""What may be called next with a run's id, for OpenAPI."""


def routes(runner: Runner, ledger: Ledger, settings: Settings, home: Home) -> APIRouter:
    """The endpoints that read runs, cancel them or let them swap."""
    router = APIRouter(prefix=RUNS, tags=["runs"], route_class=StrictRoute)
    _add_list(router, ledger)
    _add_run(router, runner)
    _add_mage_page(router, ledger, settings, home)
    _add_cancellation(router, runner)
    _add_swap(router, runner)
    return router


def links(run: Run, prefix: str) -> dict[str, str]:
    """Where more of a run is, for a caller with this prefix."""
    address = f"{prefix}{RUNS}/{run.id}"
    return {
        "self": address,
        "events": f"{address}/events",
        "cancel": f"{address}/cancel",
        "swap": f"{address}/swap",
        "mage": f"{address}/mage",
    }


def shown(run: Run, http: HttpRequest) -> dict[str, Any]:
    """A run as the answer to this call has it."""
    return without_secrets(run.to_json()) | {"links": links(run, caller_of(http.scope).prefix)}


def without_secrets(data: dict[str, Any]) -> dict[str, Any]:
    """A run as JSON, with stars in place of variables that are secret."""
    asked = data["request"]
    return data | {"request": asked | {"variables": variables.shown(asked["variables"])}}


def shown_run(run: str, runner: Runner, http: HttpRequest) -> PartlyWritten:
    """A run with its nodes and its story. Raises NotFound."""
    found, story = runner.with_story(run)
    data = shown(found.run, http) | {"story": [chapter.to_json() for chapter in story]}
    del data["nodes"]
    return PartlyWritten(data, {"nodes": found.nodes})


def _filter(description: str, **more: Any) -> Any:
    return Query(description=description, json_schema_extra={"minLength": 1, **more})


def _add_list(router: APIRouter, ledger: Ledger) -> None:
    @router.get(
        "",
        operation_id="list_runs",
        response_class=JSONResponse,
        responses={
            200: {"model": schemas.RunPage},
            **declared((RequestError, UnknownOperation, LedgerUnreachable)),
        },
    )
    def list_runs(
        http: HttpRequest,
        state: Annotated[schemas.StateName | None, _filter("Runs in this state.")] = None,
        operation: Annotated[OperationName | None, _filter("Of this operation.")] = None,
        cause: Annotated[CauseName | None, _filter("That came in this way.")] = None,
        caller: Annotated[
            str | None, _filter("Asked for by exactly this caller.", maxLength=LONGEST_FILTER)
        ] = None,
        commit: Annotated[
            str | None, _filter("The beginning of a SHA.", pattern="^[0-9a-f]{4,40}$")
        ] = None,
        node: Annotated[
            str | None,
            _filter("A planned node's name or unique id.", maxLength=LONGEST_FILTER),
        ] = None,
        since: Annotated[
            str | None, _filter("Asked for at this time or later.", format="date-time")
        ] = None,
        until: Annotated[str | None, _filter("Asked for before.", format="date-time")] = None,
        follows: Annotated[str | None, _filter("Reruns of this run.", pattern=RUN_PATTERN)] = None,
        mage_run: Annotated[
            int | None, Query(ge=1, le=LARGEST_MAGE_RUN, description="Of this Mage pipeline run.")
        ] = None,
        daily: Annotated[
            bool | None, Query(description="`true`: daily builds alone; `false`: all others.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=500, description="How many at most.")] = 20,
        before: Annotated[
            str | None,
            _filter("The last run of the page before this one.", pattern=RUN_PATTERN),
        ] = None,
    ) -> JSONResponse:
        """The newest runs first. What grows with the nodes is left to the run's own address."""
        wanted = {
            **{"state": state, "operation": operation, "cause": cause, "caller": caller},
            **{"commit": commit, "node": node, "since": since, "until": until},
            **{"follows": follows, "mage_run": mage_run, "daily": daily},
        }
        found = ledger.page(RunFilter.parse({**wanted, "before": before}), limit + 1)
        page, more = found[:limit], len(found) > limit
        prefix = caller_of(http.scope).prefix
        return JSONResponse(
            {
                "runs": [
                    without_secrets(run.summary()) | {"links": links(run, prefix)} for run in page
                ],
                "next": prefix + _next_page(wanted, limit, page[-1].id) if more else None,
            }
        )


def _next_page(wanted: Mapping[str, Any], limit: int, last: str) -> str:
    given = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in wanted.items()
        if value is not None
    }
    return f"{RUNS}?{urlencode(given | {'limit': limit, 'before': last})}"


def _add_run(router: APIRouter, runner: Runner) -> None:
    @router.get(
        "/{run}",
        operation_id="show_run",
        response_class=JSONResponse,
        responses={
            200: {"model": schemas.ShownRun, "links": RUN_LINKS},
            **declared((NotFound, RequestError, LedgerUnreachable)),
        },
    )
    def show_run(http: HttpRequest, run: RunId) -> JSONResponse:
        """One run with its nodes, and the story of its reruns."""
        return LargeJson(shown_run(run, runner, http))


def mage_page(run: str, ledger: Ledger, settings: Settings, home: Home) -> str:
    """The address of the run's page in Mage. Raises NotFound where it has none."""
    mage_run = RunView(ledger).run(run).mage_run
    pipeline = None if mage_run is None else MageTables(ledger.select).pipeline(mage_run)
    if mage_run is None or pipeline is None:
        raise NotFound(
            f"Run {run} has no page in Mage, or none yet.",
            "The run itself does not need one; ask again when Mage answers.",
        )
    with MageApi(settings, home) as mage:
        return mage.url(pipeline, mage_run)


def _add_mage_page(router: APIRouter, ledger: Ledger, settings: Settings, home: Home) -> None:
    @router.get(
        "/{run}/mage",
        operation_id="run_in_mage",
        status_code=307,
        response_class=RedirectResponse,
        responses={
            307: {"description": "To the run's page in Mage.", "headers": LOCATION},
            **declared((NotFound, RequestError, LedgerUnreachable)),
        },
    )
    def run_in_mage(run: RunId) -> RedirectResponse:
        """The run's page in Mage. A run that Mage has not taken up yet, or never will, has none."""
        return RedirectResponse(mage_page(run, ledger, settings, home), 307)


def _add_cancellation(router: APIRouter, runner: Runner) -> None:
    @router.post(
        "/{run}/cancel",
        operation_id="cancel_run",
        response_class=JSONResponse,
        responses={
            200: {"model": schemas.Run, "description": "The run, its SQL stopped."},
            **declared((*BODY_PROBLEMS, NotFound, Conflict, LedgerUnreachable)),
        },
    )
    def cancel_run(
        http: HttpRequest,
        run: RunId,
        body: Annotated[
            schemas.Decision | None, Body(openapi_examples=schemas.CANCELLATIONS)
        ] = None,
    ) -> JSONResponse:
        """Stops a run and its SQL. A run that is over cannot be cancelled (409)."""
        by = _decided_by(http, body)
        return JSONResponse(shown(runner.cancel(run, by), http))


def _decided_by(http: HttpRequest, body: schemas.Decision | None) -> str:
    by, why = (body.by or "", body.why or "") if body else ("", "")
    return with_reason(caller_of(http.scope).recorded_as(by.strip()), why)


def with_reason(by: str, why: str) -> str:
    """Who decided something, as it is kept: `kim: the wrong model`."""
    return f"{by}: {why.strip()}" if why.strip() else by


def _add_swap(router: APIRouter, runner: Runner) -> None:
    @router.post(
        "/{run}/swap",
        operation_id="swap_run",
        response_class=JSONResponse,
        responses={
            200: {"model": schemas.Run, "description": "The run, which goes on to its swap."},
            **declared((*BODY_PROBLEMS, NotFound, Conflict, LedgerUnreachable)),
        },
    )
    def swap_run(
        http: HttpRequest,
        run: RunId,
        body: Annotated[schemas.Decision | None, Body(openapi_examples=schemas.DECISIONS)] = None,
    ) -> JSONResponse:
        """Lets a refresh that waits for a decision swap. One that does not wait refuses (409); to
        decide against the swap, cancel the run."""
        by = _decided_by(http, body)
        return JSONResponse(shown(runner.swap(run, by), http))
