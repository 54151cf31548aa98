"""The middleware that every call passes: authentication, size limits and metrics.

`authentication.py` says who may call at which listener, with which role. A viewer only reads, and
chooses a language.
"""

from __future__ import annotations

from time import monotonic

from starlette.datastructures import Headers
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mage_dbt.errors import NotFound, TooLarge, WorkspaceError
from mage_dbt.identity import rights
from mage_dbt.identity.origin import READING
from mage_dbt.model import problems
from mage_dbt.server import caller
from mage_dbt.server.authentication import Authentication, Refused
from mage_dbt.server.caller import PEOPLES_PREFIX, Caller, Listener
from mage_dbt.server.metrics import Metrics
from mage_dbt.server.pages.routes import is_page
from mage_dbt.server.pages.site import Site

LARGEST_BODY = 1_000_000
"""Bytes of one request's body; the largest honest one names some thousand nodes."""


PROGRAMS = (Listener.MACHINES, Listener.MAGE)
"""Where no browser calls."""


class CallMiddleware:
    """ASGI middleware. It answers a refused call with a problem, and counts every call."""

    def __init__(
        self, app: ASGIApp, authentication: Authentication, metrics: Metrics, site: Site
    ) -> None:
        self._app = app
        self._site = site
        self._authentication = authentication
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = monotonic()
        status = 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            headers = Headers(scope=scope)
            calls = self._authentication.caller(scope, headers)
            if calls.listener is Listener.PEOPLE:
                if scope["path"] == PEOPLES_PREFIX:  # as people type it
                    await RedirectResponse(f"{PEOPLES_PREFIX}/")(scope, receive, send_and_note)
                    return
                scope = _without_prefix(scope)
            _require_person(calls, scope["path"])
            scope[caller.KEY] = calls
            _require_right(calls, scope["method"], scope["path"])
            if (refusal := _too_large(headers)) is not None:
                raise Refused(refusal)
            await self._app(scope, _bounded(receive), send_and_note)
        except Refused as refused:
            answer = self._answer(scope, refused.error, refused.wait)
            await answer(scope, receive, send_and_note)
        finally:
            self._metrics.answered(scope, status, monotonic() - begun)

    def _answer(self, scope: Scope, error: WorkspaceError, wait: int) -> Response:
        """A page for a reader whom we know, who has asked for one; else a problem."""
        if caller.KEY in scope and is_page(scope["path"]):
            return self._site.problem(HttpRequest(scope), error)
        headers = problems.headers(error, wait or None)
        problem = problems.problem(error, problems.instance_of(scope["path"]))
        return JSONResponse(problem, error.status, headers, problems.MEDIA_TYPE)


def _require_person(calls: Caller, path: str) -> None:
    """The page is for people; a program finds the same in the API, whose answers do not change."""
    if calls.listener in PROGRAMS and is_page(path):
        raise Refused(
            NotFound("The page is for people.", "Programs call /v1/…; GET /openapi.json lists all.")
        )


def _require_right(calls: Caller, method: str, path: str) -> None:
    """Every call but a read starts something (a run, or a dbt for its plan), or changes something.

    For a run the request says which role it needs.
    """
    if method not in READING and calls.listener is not Listener.TOKEN:
        try:
            rights.require(calls.role, rights.needed_to_call(path), "This call")
        except WorkspaceError as error:
            raise Refused(error) from None


def _without_prefix(scope: Scope) -> Scope:
    path = scope["path"]
    if not path.startswith(f"{PEOPLES_PREFIX}/"):
        raise Refused(NotFound(f"There is no {path[:200]}.", "The runner's are under /runner/."))
    rest = path.removeprefix(PEOPLES_PREFIX)
    return {**scope, "path": rest, "raw_path": rest.encode()}


def _too_large(headers: Headers) -> WorkspaceError | None:
    """Refuses a declared size before a byte is read. h11 has checked that it is a number."""
    declared = headers.get("content-length", "0")
    return _larger() if len(declared) > 12 or int(declared) > LARGEST_BODY else None


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > LARGEST_BODY:
            raise _larger()
        return message

    return receive_some


def _larger() -> TooLarge:
    return TooLarge(f"The body is larger than {LARGEST_BODY} bytes.", "Send less, or in parts.")
