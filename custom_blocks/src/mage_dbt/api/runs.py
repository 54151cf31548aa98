"""Runs: ask for one, list them, look at one and its nodes, follow it, cancel it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Body, Header, Query
from fastapi import Path as InPath
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from mage_dbt.api import events, examples, schemas
from mage_dbt.api.caller import caller_of
from mage_dbt.api.compiled import compiled_sql
from mage_dbt.api.problems import declared
from mage_dbt.api.route import StrictRoute
from mage_dbt.errors import (
    BadCommand,
    BadCommit,
    BadSelection,
    BadVariable,
    Conflict,
    KeyReused,
    LedgerUnreachable,
    Malformed,
    NoCommitReady,
    NotFound,
    NothingLeft,
    NotJson,
    PlanChanged,
    QueueFull,
    RequestError,
    TooLarge,
    UnknownOperation,
)
from mage_dbt.home import Home
from mage_dbt.identity import rights
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.listing import LARGEST_MAGE_RUN, LONGEST_FILTER, RunFilter
from mage_dbt.mage import begun
from mage_dbt.mage.api import MageApi
from mage_dbt.request import Cause, Request
from mage_dbt.run import Run
from mage_dbt.runner.service import Runner
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

KEY_PREFIX = "api:"
"""Of the keys that come as a header: they meet neither a block's (`mage:`) nor a morning's
(`daily:`)."""

KEY = r"^[!-~](?:[ -~]{0,198}[!-~])?$"
"""1 to 200 printable ASCII characters."""

LARGEST_SEQUENCE = 10**18 - 1

RUN_PATTERN = r"^[0-9]{8}-[0-9]{6}-[0-9a-f]{6}$"

BODY_PROBLEMS = (Malformed, TooLarge, NotJson, RequestError, UnknownOperation)

REQUEST_PROBLEMS = (
    *BODY_PROBLEMS,
    *(BadSelection, BadVariable, BadCommand, BadCommit, NotFound, Conflict, NothingLeft),
    *(PlanChanged, NoCommitReady, LedgerUnreachable),
)

RunId = Annotated[
    str,
    InPath(description="A run's id.", max_length=200, examples=[schemas.RUN_EXAMPLE]),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="1 to 200 printable ASCII characters. The same key and body are the same run; "
        "the same key with another body is refused (409). Kept as long as the run is in the "
        "ledger.",
        pattern=KEY,
        examples=["daily-2026-11-23-rerun"],
    ),
]


def _filter(description: str, **more: Any) -> Any:
    return Query(description=description, json_schema_extra={"minLength": 1, **more})


def routes(runner: Runner, ledger: Ledger, settings: Settings, home: Home) -> APIRouter:
    """The endpoints under /v1/runs."""
    router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=StrictRoute)

    @router.post(
        "",
        operation_id="ask_for_run",
        status_code=202,
        response_class=JSONResponse,
        response_description="The run; it begins at once, or when it is its turn.",
        responses={
            202: {"model": schemas.AcceptedRun, "headers": _LOCATION, "links": _RUN_LINKS},
            200: {
                "model": schemas.AcceptedRun,
                "description": "The run that this key has asked for before.",
                "headers": _LOCATION,
            },
            **declared((*REQUEST_PROBLEMS, KeyReused, QueueFull)),
        },
    )
    def ask_for_run(
        http: HttpRequest,
        body: Annotated[schemas.RunRequest, Body(openapi_examples=examples.RUNS)],
        idempotency_key: IdempotencyKey = None,
    ) -> JSONResponse:
        """Asks for a run. Repeating a call with its Idempotency-Key is safe."""
        request = _with_proven_cause(request_of(http, body, idempotency_key), http, home)
        _require_right(http, request, ledger)
        run, added = runner.submit(request)
        told = shown(run, http) | {"added": added}
        return JSONResponse(told, 202 if added else 200, {"Location": told["links"]["self"]})

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
        operation: Annotated[schemas.OperationName | None, _filter("Of this operation.")] = None,
        cause: Annotated[schemas.CauseName | None, _filter("That came through this door.")] = None,
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
            **{"follows": follows, "mage_run": mage_run},
        }
        found = ledger.page(RunFilter.parse({**wanted, "before": before}), limit + 1)
        page, more = found[:limit], len(found) > limit
        prefix = caller_of(http.scope).prefix
        return JSONResponse(
            {
                "runs": [one.summary() | {"links": links(one, prefix)} for one in page],
                "next": prefix + _next(wanted, limit, page[-1].id) if more else None,
            }
        )

    @router.get(
        "/{run}",
        operation_id="show_run",
        response_class=JSONResponse,
        responses={
            200: {"model": schemas.ShownRun, "links": _RUN_LINKS},
            **declared((NotFound, RequestError, LedgerUnreachable)),
        },
    )
    def show_run(http: HttpRequest, run: RunId) -> JSONResponse:
        """One run with its nodes, and the story of its reruns."""
        return JSONResponse(shown(ledger.run(run), http) | {"story": runner.story(run)})

    @router.get(
        "/{run}/events",
        operation_id="follow_run",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Server-sent events until the run's final state. Each has the "
                "number to resume after as its `id`, its kind as `event`, and JSON as `data`.",
                "content": {events.MEDIA_TYPE: {"schema": events.SCHEMA}},
            },
            204: {"description": "The run is over and there is nothing after that event."},
            **declared((Malformed, NotFound, RequestError, LedgerUnreachable)),
        },
    )
    async def follow_run(
        run: RunId,
        after: Annotated[
            int,
            Query(ge=0, le=LARGEST_SEQUENCE, description="The last event that was seen."),
        ] = 0,
        last_event_id: Annotated[
            str | None,
            Header(
                alias="Last-Event-ID",
                description="The same, as an EventSource sends it; wins over `after`.",
                json_schema_extra={"pattern": "^[0-9]{0,18}$"},
            ),
        ] = None,
    ) -> Response:
        """What happens in a run, as it happens. Resumable without a loss or a repetition."""
        after = events.last_event_id(last_event_id, after)
        now = await asyncio.to_thread(ledger.run, run)
        if now.state.final and not await asyncio.to_thread(ledger.events, run, after, 1):
            return Response(status_code=204)
        return StreamingResponse(
            events.stream(ledger, run, after),
            media_type=events.MEDIA_TYPE,
            headers={"Cache-Control": "no-store"},
        )

    @router.get(
        "/{run}/nodes/{node}",
        operation_id="show_node",
        response_class=JSONResponse,
        responses={
            200: {"model": schemas.NodeDetail},
            **declared((NotFound, RequestError, LedgerUnreachable)),
        },
    )
    def show_node(
        run: RunId,
        node: Annotated[
            str,
            InPath(
                description="A node's name, or its unique id.",
                max_length=LONGEST_FILTER,
                examples=["fct_orders"],
            ),
        ],
    ) -> JSONResponse:
        """One node of a run: what became of it, when, and its compiled SQL."""
        ledger.run(run)
        if "\x00" in node:
            raise NotFound("No node has a NUL character in its name.")
        found = ledger.node(run, node)
        sql, note = compiled_sql(home.runs / run, found)
        result, planned = found.result, found.planned
        return JSONResponse(
            {
                "run": run,
                "node": found.node,
                "name": found.name,
                "type": found.type,
                "status": found.status,
                "started_at": found.started_at and found.started_at.isoformat(),
                "finished_at": found.finished_at and found.finished_at.isoformat(),
                "seconds": result.seconds if result else None,
                "rows": result.rows if result else None,
                "message": result.message if result else "",
                "because": result.because if result else "",
                "relation": (planned.relation if planned else "")
                or (result.relation if result else ""),
                "compiled_sql": sql,
                "compiled_sql_note": note,
            }
        )

    @router.get(
        "/{run}/mage",
        operation_id="run_in_mage",
        status_code=307,
        response_class=RedirectResponse,
        responses={
            307: {"description": "To the run's page in Mage.", "headers": _LOCATION},
            **declared((NotFound, RequestError, LedgerUnreachable)),
        },
    )
    def run_in_mage(run: RunId) -> RedirectResponse:
        """The run's page in Mage. A run that Mage has not taken up yet, or never will, has none."""
        mage_run = ledger.run(run).mage_run
        pipeline = None if mage_run is None else ledger.mage_pipeline(mage_run)
        if mage_run is None or pipeline is None:
            raise NotFound(
                f"Run {run} has no page in Mage, or none yet.",
                "The run itself does not need one; ask again when Mage answers.",
            )
        with MageApi(settings, home) as mage:
            return RedirectResponse(mage.url(pipeline, mage_run), 307)

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
            schemas.CancelRequest | None, Body(openapi_examples=examples.CANCEL)
        ] = None,
    ) -> JSONResponse:
        """Stops a run and its SQL. A run that is over cannot be cancelled (409)."""
        by = caller_of(http.scope).told(((body.by if body else None) or "").strip())
        return JSONResponse(shown(runner.cancel(run, by), http))

    return router


def request_of(http: HttpRequest, body: schemas.RunRequest, key: str | None) -> Request:
    """The request that a call makes. Who it is from follows from the door it came through.

    Raises a RequestError.
    """
    data = {
        name: value for name in body.model_fields_set if (value := getattr(body, name)) is not None
    }
    caller = caller_of(http.scope)
    if not caller.claims:
        for name in ("cause", "key", "mage_run", "keep_views"):
            if name in data:
                raise RequestError(
                    f"`{name}` is not taken here.",
                    "Send the key as the header Idempotency-Key." if name == "key" else "",
                )
        data["cause"] = "api"
    data["caller"] = caller.told(data.get("caller", "").strip())
    if not rights.may_drop_views(caller.role):
        data["keep_views"] = True
    if key is not None:
        if "key" in data:
            raise RequestError("`key` and the header Idempotency-Key are both given.", "Give one.")
        data["key"] = KEY_PREFIX + key
    return Request.parse(data)


def _with_proven_cause(request: Request, http: HttpRequest, home: Home) -> Request:
    """Whoever says that the schedule or the start asks brings the ticket of its pipeline run; else
    it is somebody in Mage, whatever the trigger is called."""
    if request.cause not in begun.CAUSES:
        return request
    given = http.headers.get(begun.HEADER, "")
    if begun.is_right(given, home, request.cause, request.mage_run):
        return request
    log.warning("%s says that it is the %s, without proof", request.caller, request.cause)
    return replace(request, cause=Cause.FORM)


def _require_right(http: HttpRequest, request: Request, ledger: Ledger) -> None:
    """Raises Forbidden when the caller's role may not ask for this, or for what it runs again."""
    caller = caller_of(http.scope)
    asked = [request]
    if request.of:
        asked += [Request.parse(one.request) for one in ledger.story(request.of)]
    needed = max(rights.needed(one) for one in asked)
    rights.require(caller.role, needed, f"What this asks for ({request.operation})")


def links(run: Run, prefix: str) -> dict[str, str]:
    """Where more of a run is, for a caller with this prefix."""
    address = f"{prefix}/v1/runs/{run.id}"
    return {
        "self": address,
        "events": f"{address}/events",
        "cancel": f"{address}/cancel",
        "mage": f"{address}/mage",
    }


def shown(run: Run, http: HttpRequest) -> dict[str, Any]:
    """A run as the answer to this call has it."""
    return run.to_json() | {"links": links(run, caller_of(http.scope).prefix)}


def _next(wanted: Mapping[str, Any], limit: int, last: str) -> str:
    given = {name: value for name, value in wanted.items() if value is not None}
    return f"/v1/runs?{urlencode(given | {'limit': limit, 'before': last})}"


_LOCATION: dict[str, Any] = {
    "Location": {
        "description": "The address.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    }
}

_RUN_LINKS: dict[str, Any] = {
    name: {"operationId": name, "parameters": {"run": "$response.body#/id"}}
    for name in ("show_run", "follow_run", "cancel_run")
}
