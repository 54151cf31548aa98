"""The ASGI application: the routes, what stands before them, and how errors are told."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from mage_dbt.api import openapi, problems, runs, workspace
from mage_dbt.api.doors import Doors
from mage_dbt.api.guard import Guard
from mage_dbt.api.limits import CallLimits
from mage_dbt.api.metrics import Metrics
from mage_dbt.api.schemas import CancelRequest, RunRequest
from mage_dbt.errors import (
    Malformed,
    NotFound,
    RequestError,
    WorkspaceError,
    WrongMethod,
    did_you_mean,
)
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.runner.service import Runner
from mage_dbt.settings import Settings

LONGEST_INSTANCE = 200


def make_app(runner: Runner, ledger: Ledger, settings: Settings, home: Home, token: str) -> FastAPI:
    """The application of one runner; `token` is what callers over TCP have to bring."""
    metrics = Metrics(runner, ledger)
    app = FastAPI(
        title="mage-dbt runner",
        version="1",
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    routers = (runs.routes(runner, ledger, settings, home), workspace.routes(runner, metrics))
    app.state.routes = [*app.routes, *(route for one in routers for route in one.routes)]
    for router in routers:
        app.include_router(router)
    app.add_middleware(
        Guard,
        doors=Doors(settings, home, token, CallLimits(settings.runner_calls_per_minute)),
        metrics=metrics,
    )
    app.add_exception_handler(WorkspaceError, _tell)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.add_exception_handler(Exception, _tell_mistake)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app


async def _tell(request: HttpRequest, error: Exception) -> JSONResponse:
    assert isinstance(error, WorkspaceError)
    return _answer(request, error)


async def _tell_http(request: HttpRequest, error: Exception) -> JSONResponse:
    """What the framework refuses: an address or a method that does not exist."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:LONGEST_INSTANCE]
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        refusal = WrongMethod(f"{path} takes {allowed}, not {request.method[:20]}.")
        return _answer(request, refusal, {"Allow": allowed})
    if error.status_code == 404:
        return _answer(request, NotFound(f"There is no {path}.", "`GET /openapi.json` lists all."))
    return _answer(request, Malformed(str(error.detail)))


async def _tell_invalid(request: HttpRequest, error: Exception) -> JSONResponse:
    """What does not have the shape the OpenAPI document describes."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    part, *where = (str(one) for one in first["loc"])
    name = where[0][:100] if where else part
    if first["type"] == "extra_forbidden":
        body = CancelRequest if request.url.path.endswith("/cancel") else RunRequest
        return _answer(
            request, RequestError(f"Unknown field {name!r}.", did_you_mean(name, body.model_fields))
        )
    message = f"`{name}`: {first['msg']}."
    return _answer(request, Malformed(message) if part == "header" else RequestError(message))


async def _tell_mistake(request: HttpRequest, error: Exception) -> JSONResponse:
    return _answer(
        request,
        WorkspaceError(
            f"The runner made a mistake of its own ({type(error).__name__}).",
            "Its log, logs/runner.log, has the whole of it.",
        ),
    )


def _answer(
    request: HttpRequest, error: WorkspaceError, headers: dict[str, str] | None = None
) -> JSONResponse:
    instance = quote(request.url.path, safe="/")[:LONGEST_INSTANCE]
    return JSONResponse(
        problems.problem(error, instance),
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
