"""What every call passes before it is looked at: who calls, from where, how often, how much.

The Unix socket is open to the user the workspace runs as, by its file mode, and not limited. Over
TCP a call needs the bearer token, except `/ping`, and must not come from a web page.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from time import monotonic
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mage_dbt.api import problems
from mage_dbt.api.limits import CallLimits
from mage_dbt.api.metrics import Metrics
from mage_dbt.errors import Forbidden, TooLarge, TooManyRequests, Unauthorized, WorkspaceError

LARGEST_BODY = 1_000_000
"""Bytes of one request's body; the largest honest one names some thousand nodes."""

LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)

OPEN = "/ping"
"""The one path that answers without the token."""


def is_local(scope: Mapping[str, Any]) -> bool:
    """Whether the call came over the Unix socket.

    Read from our own end of the connection (a path without a port): a TCP peer that is gone
    already has no address, and must not pass for the socket.
    """
    server = scope.get("server")
    return server is not None and server[1] is None and scope.get("client") is None


class Guard:
    """ASGI middleware; every refusal is a problem, every call is counted."""

    def __init__(self, app: ASGIApp, token: str, limits: CallLimits, metrics: Metrics) -> None:
        self._app = app
        self._token = token.encode()
        self._limits = limits
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
            refusal, wait = (None, 0) if is_local(scope) else self._refusal(scope, headers)
            refusal = refusal or _too_large(headers)
            if refusal is not None:
                await _answer(refusal, wait)(scope, receive, send_and_note)
            else:
                await self._app(scope, _bounded(receive), send_and_note)
        finally:
            self._metrics.answered(scope, status, monotonic() - begun)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[WorkspaceError | None, int]:
        """Why a TCP call is refused, and in how many seconds it may come again."""
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None:
            return Forbidden(
                f"The call comes from a web page (Origin: {origin[:100]}).",
                "Call from a program; no web page may.",
            ), 0
        if not LOOPBACK.fullmatch(host):
            return Forbidden(
                f"The call is for the host {host[:100]!r}, which this is not.",
                "Call 127.0.0.1 or localhost; from elsewhere through an SSH tunnel.",
            ), 0
        peer = scope["client"][0] if scope["client"] else "unknown"
        right = self._is_right(headers.getlist("authorization"))
        if scope["path"] != OPEN and not right:
            if wait := self._limits.wrong_token(peer):
                return TooManyRequests(
                    f"More than {self._limits.wrong_tokens_per_minute} calls without the right "
                    "token within a minute.",
                    "Calls with the right one are answered.",
                ), wait
            return Unauthorized(
                "This call needs the bearer token.",
                "It is in WORKSPACE_HOME/secrets/api-token; send `Authorization: Bearer …`.",
            ), 0
        # One token today, so one caller; without it only /ping comes here.
        if wait := self._limits.call("token" if right else peer):
            return TooManyRequests(
                f"More than {self._limits.calls_per_minute} calls within a minute.",
                "Wait, then call less often; the events of a run come in one call.",
            ), wait
        return None, 0

    def _is_right(self, given: list[str]) -> bool:
        """Compares in constant time; what is wrong is not told apart."""
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        right = hmac.compare_digest(token.strip().encode("latin-1"), self._token)
        return right and scheme.lower() == "bearer"


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
