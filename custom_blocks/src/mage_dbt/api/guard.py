"""What every call passes before it is looked at: who calls, from where, how often, how much.

Who is let in through which door, and with which role, is said in `doors`. A viewer only reads.
"""

from __future__ import annotations

from time import monotonic

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mage_dbt.api import caller, problems
from mage_dbt.api.caller import PEOPLES_PREFIX, Caller, Door
from mage_dbt.api.doors import Doors, Refused
from mage_dbt.api.metrics import Metrics
from mage_dbt.errors import NotFound, TooLarge, WorkspaceError
from mage_dbt.identity import rights
from mage_dbt.identity.origin import READING
from mage_dbt.identity.role import Role

LARGEST_BODY = 1_000_000
"""Bytes of one request's body; the largest honest one names some thousand nodes."""


class Guard:
    """ASGI middleware; every refusal is a problem, every call is counted."""

    def __init__(self, app: ASGIApp, doors: Doors, metrics: Metrics) -> None:
        self._app = app
        self._doors = doors
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
            found = self._doors.let_in(scope, headers)
            if found.door is Door.PEOPLE:
                scope = _without_prefix(scope)
            _require_right(found, scope["method"])
            scope[caller.KEY] = found
            if (refusal := _too_large(headers)) is not None:
                raise Refused(refusal)
            await self._app(scope, _bounded(receive), send_and_note)
        except Refused as refused:
            await _answer(refused.error, refused.wait)(scope, receive, send_and_note)
        finally:
            self._metrics.answered(scope, status, monotonic() - begun)


def _require_right(found: Caller, method: str) -> None:
    """Everything but reading begins something: a run, or a dbt for its plan."""
    if method not in READING and found.door is not Door.TOKEN:
        try:
            rights.require(found.role, Role.ANALYST, "This call")
        except WorkspaceError as error:
            raise Refused(error) from None


def _without_prefix(scope: Scope) -> Scope:
    path = scope["path"]
    if not path.startswith(f"{PEOPLES_PREFIX}/"):
        raise Refused(NotFound(f"There is no {path[:200]}.", "The runner's are under /runner/."))
    rest = path.removeprefix(PEOPLES_PREFIX)
    return {**scope, "path": rest, "raw_path": rest.encode()}


def _too_large(headers: Headers) -> WorkspaceError | None:
    """Declared sizes are refused before a byte is read. h11 has checked that it is a number."""
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
    return TooLarge(f"The body is larger than {LARGEST_BODY} bytes.", "Name fewer nodes.")


def _answer(error: WorkspaceError, wait: int) -> JSONResponse:
    return JSONResponse(
        problems.problem(error),
        error.status,
        problems.headers(error, wait or None),
        problems.MEDIA_TYPE,
    )
