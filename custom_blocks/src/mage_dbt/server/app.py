"""The ASGI application: routes, middleware, and errors as problem details."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from mage_dbt.errors import (
    Malformed,
    NotFound,
    RequestError,
    WorkspaceError,
    WrongMethod,
)
from mage_dbt.home import Home
from mage_dbt.identity.origin import READING
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.event_feed import EventFeed
from mage_dbt.model import problems
from mage_dbt.model.body import Body, refusal
from mage_dbt.model.request import RunRequest
from mage_dbt.model.schedule_change import ScheduleRequest
from mage_dbt.runner.service import Runner
from mage_dbt.server import (
    alerts,
    docs,
    events,
    explanations,
    models,
    nodes,
    openapi,
    requests,
    runs,
    schedule,
    timelines,
    workspace,
)
from mage_dbt.server.authentication import Authentication, CallLimits
from mage_dbt.server.metrics import Metrics
from mage_dbt.server.middleware import CallMiddleware
from mage_dbt.server.pages import live
from mage_dbt.server.pages import routes as pages
from mage_dbt.server.pages.site import Site
from mage_dbt.server.schemas import Decision
from mage_dbt.settings import Settings

BODIES: dict[str, type[Body]] = {
    "cancel": Decision,
    "swap": Decision,
    "schedule": ScheduleRequest,
}
"""The kind of body by the last word of the address; others take a RunRequest."""


def make_app(
    runner: Runner,
    ledger: Ledger,
    feed: EventFeed,
    settings: Settings,
    home: Home,
    token: str,
) -> FastAPI:
    """The application of one runner; `token` is what callers over TCP have to bring."""
    metrics = Metrics(runner, ledger)
    site = Site(runner, ledger, settings, home, token)
    app = FastAPI(
        title="mage-dbt runner",
        version="1",
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    routers = (
        requests.routes(runner, ledger, home),
        runs.routes(runner, ledger, settings, home),
        nodes.routes(ledger, home),
        explanations.routes(runner),
        timelines.routes(ledger),
        events.routes(ledger, feed),
        models.routes(runner, site.catalogue),
        workspace.routes(runner, metrics),
        docs.routes(runner),
        schedule.routes(runner),
        alerts.routes(runner),
        pages.routes(site),
        live.routes(site, feed),
    )
    app.state.routes = [*app.routes, *(route for router in routers for route in router.routes)]
    for router in routers:
        app.include_router(router)
    app.add_middleware(
        CallMiddleware,
        authentication=Authentication(
            settings, home, token, CallLimits(settings.runner_calls_per_minute)
        ),
        metrics=metrics,
        site=site,
    )
    app.state.site = site
    app.add_exception_handler(WorkspaceError, _problem)
    app.add_exception_handler(HTTPException, _unknown_address)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _mistake)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app


async def _problem(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, WorkspaceError)
    return _answer(request, error)


async def _unknown_address(request: HttpRequest, error: Exception) -> Response:
    """Answers what the framework refuses: an address or a method that does not exist."""
    assert isinstance(error, HTTPException)
    path = request.url.path[: problems.LONGEST_INSTANCE]
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        if allowed == "POST" and request.method in READING and pages.is_page(request.url.path):
            site: Site = request.app.state.site
            return await run_in_threadpool(site.not_sent, request)
        refusal = WrongMethod(f"{path} takes {allowed}, not {request.method[:20]}.")
        return _answer(request, refusal, {"Allow": allowed})
    if error.status_code == 404:
        return _answer(request, NotFound(f"There is no {path}.", "`GET /openapi.json` lists all."))
    return _answer(request, Malformed(str(error.detail)))


async def _invalid(request: HttpRequest, error: Exception) -> Response:
    """Answers a call without the shape that the OpenAPI document describes."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    part, *where = found[0]["loc"]
    if part == "body":
        body = BODIES.get(request.url.path.rpartition("/")[2], RunRequest)
        inside = [{**detail, "loc": detail["loc"][1:]} for detail in found]
        return _answer(request, refusal(inside, body.model_fields))
    message = f"`{where[0] if where else part}`: {found[0]['msg']}."
    return _answer(request, Malformed(message) if part == "header" else RequestError(message))


async def _mistake(request: HttpRequest, error: Exception) -> Response:
    return _answer(
        request,
        WorkspaceError(
            f"The runner made a mistake of its own ({type(error).__name__}).",
            "Its log, logs/runner.log, has the whole of it.",
        ),
    )


def _answer(
    request: HttpRequest, error: WorkspaceError, headers: dict[str, str] | None = None
) -> Response:
    if pages.is_page(request.url.path):
        site: Site = request.app.state.site
        answer = site.problem(request, error)
        answer.headers.update(headers or {})
        return answer
    return JSONResponse(
        problems.problem(error, problems.instance_of(request.url.path)),
        error.status,
        {**problems.headers(error), **(headers or {})},
        problems.MEDIA_TYPE,
    )


def _methods(request: HttpRequest) -> set[str]:
    """Every method that the call's address takes."""
    found: set[str] = set()
    for route in request.app.state.routes:
        methods: Any = getattr(route, "methods", None)
        if methods and route.matches(request.scope)[0] is not Match.NONE:
            found |= methods
    return found
