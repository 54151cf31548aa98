"""Requests: a body becomes a Request, and a run or a plan of it."""

from __future__ import annotations

import logging
import re
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse

from mage_dbt.errors import (
    BadCommand,
    BadCommit,
    BadSelection,
    BadVariable,
    Conflict,
    KeyReused,
    LedgerUnreachable,
    NoCommitReady,
    NotFound,
    NothingLeft,
    PlanChanged,
    QueueFull,
    RequestError,
)
from mage_dbt.home import Home
from mage_dbt.identity import rights, ticket
from mage_dbt.ledger import Ledger
from mage_dbt.model import variables
from mage_dbt.model.plan import Plan
from mage_dbt.model.problems import declared
from mage_dbt.model.request import Cause, Origin, Request, RunRequest
from mage_dbt.runner.service import Runner
from mage_dbt.server import schemas
from mage_dbt.server.caller import Caller, caller_of
from mage_dbt.server.runs import LOCATION, RUN_LINKS, RUNS, shown
from mage_dbt.server.schemas import BODY_PROBLEMS
from mage_dbt.server.strict_route import StrictRoute

log = logging.getLogger(__name__)

KEY_PREFIX = "api:"
"""Of keys that come as a header, so that they differ from Mage's (`mage:`) and the daily build's
(`daily:`)."""

PAGE_KEY_PREFIX = "page:"
"""Of keys that come with a form of the page."""

KEY = r"^[!-~](?:[ -~]{0,198}[!-~])?$"
"""1 to 200 printable ASCII characters."""

REQUEST_PROBLEMS = (
    *BODY_PROBLEMS,
    *(BadSelection, BadVariable, BadCommand, BadCommit, NotFound, Conflict, NothingLeft),
    *(PlanChanged, NoCommitReady, LedgerUnreachable),
)

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


def routes(runner: Runner, ledger: Ledger, home: Home) -> APIRouter:
    """The endpoints that take a request."""
    router = APIRouter(route_class=StrictRoute)
    _add_run(router, runner, ledger, home)
    _add_plan(router, runner, home)
    return router


def _add_run(router: APIRouter, runner: Runner, ledger: Ledger, home: Home) -> None:
    @router.post(
        RUNS,
        operation_id="ask_for_run",
        tags=["runs"],
        status_code=202,
        response_class=JSONResponse,
        response_description="The run; it begins at once, or when it is its turn.",
        responses={
            202: {"model": schemas.AcceptedRun, "headers": LOCATION, "links": RUN_LINKS},
            200: {
                "model": schemas.AcceptedRun,
                "description": "The run that this key has asked for before.",
                "headers": LOCATION,
            },
            **declared((*REQUEST_PROBLEMS, KeyReused, QueueFull)),
        },
    )
    def ask_for_run(
        http: HttpRequest,
        body: Annotated[RunRequest, Body(openapi_examples=schemas.RUN_REQUESTS)],
        idempotency_key: IdempotencyKey = None,
    ) -> JSONResponse:
        """Asks for a run. Repeating a call with its Idempotency-Key is safe."""
        request = request_of(http, body, home, idempotency_key)
        require_right(http, request, ledger)
        run, added = runner.submit(request)
        answer = shown(run, http) | {"added": added}
        return JSONResponse(answer, 202 if added else 200, {"Location": answer["links"]["self"]})


def _add_plan(router: APIRouter, runner: Runner, home: Home) -> None:
    @router.post(
        "/v1/plans",
        operation_id="plan",
        tags=["workspace"],
        response_class=JSONResponse,
        response_description="What a run would do now.",
        responses={200: {"model": schemas.Plan}, **declared(REQUEST_PROBLEMS)},
    )
    def plan(
        http: HttpRequest,
        body: Annotated[RunRequest, Body(openapi_examples=schemas.RUN_REQUESTS)],
    ) -> JSONResponse:
        """What a request would do: its nodes in order. Changes nothing, and takes seconds."""
        return JSONResponse(shown_plan(runner.plan(request_of(http, body, home))))


def shown_plan(plan: Plan) -> dict[str, Any]:
    """A plan as JSON, with stars in place of variables that are secret."""
    data = plan.to_json()
    return data | {"variables": variables.shown(data["variables"])}


def request_of(http: HttpRequest, body: RunRequest, home: Home, key: str | None = None) -> Request:
    """The request that a call makes; `key` is its header. Raises a RequestError."""
    return Request.checked(body, _origin(http, body, home, key))


def request_of_page(http: HttpRequest, body: RunRequest, key: str = "") -> Request:
    """The request that a form of the page makes; `key` is the form's own. Raises a RequestError."""
    if key and not re.fullmatch(KEY, key):
        raise RequestError("The form's `key` is not one of this page's.", "Load the page again.")
    caller = caller_of(http.scope)
    origin = Origin(
        cause=Cause.PAGE,
        caller=caller.recorded_as(""),
        key=PAGE_KEY_PREFIX + key if key else None,
        keep_views=not rights.may_drop_views(caller.role),
    )
    return Request.checked(body, origin)


def _origin(http: HttpRequest, body: RunRequest, home: Home, key: str | None) -> Origin:
    """Who asks, and how. It follows from the caller; only Mage's socket may name it."""
    caller = caller_of(http.scope)
    named = _named_origin(caller, body)
    if key is not None and named.key:
        raise RequestError("`key` and the header Idempotency-Key are both given.", "Give one.")
    return Origin(
        cause=_proven_cause(http, named, home),
        caller=caller.recorded_as((body.caller or "").strip()),
        key=named.key if key is None else KEY_PREFIX + key,
        mage_run=named.mage_run,
        keep_views=named.keep_views or not rights.may_drop_views(caller.role),
    )


def _named_origin(caller: Caller, body: RunRequest) -> Origin:
    if caller.may_name_origin:
        return Origin.named_in(body)
    for name in ("cause", "key", "mage_run", "keep_views"):
        if getattr(body, name) is not None:
            raise RequestError(
                f"`{name}` is not taken here.",
                "Send the key as the header Idempotency-Key." if name == "key" else "",
            )
    return Origin()


def _proven_cause(http: HttpRequest, named: Origin, home: Home) -> Cause:
    """The cause that was named. The schedule and the start need the ticket of their pipeline run.

    Without it, the cause is somebody in Mage, whatever the trigger is called.
    """
    if named.cause not in ticket.CAUSES:
        return named.cause
    given = http.headers.get(ticket.HEADER, "")
    if ticket.is_right(given, home, named.cause, named.mage_run):
        return named.cause
    log.warning("%s names the cause %s without a ticket", named.caller, named.cause)
    return Cause.FORM


def require_right(http: HttpRequest, request: Request, ledger: Ledger) -> None:
    """Raises Forbidden when the caller's role may not ask for this, or for what it runs again."""
    asked = [request]
    if request.of:
        asked += [run.request for run in ledger.story_heads(request.of)]
    needed = max(rights.needed(request) for request in asked)
    what = f"What this asks for ({request.operation})"
    rights.require(caller_of(http.scope).role, needed, what)
