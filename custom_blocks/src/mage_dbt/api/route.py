"""A route that looks at a call strictly before FastAPI reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mage_dbt.api import json_body
from mage_dbt.errors import Malformed, RequestError, did_you_mean

ONCE = ("Idempotency-Key", "Last-Event-ID", "Content-Type")
"""Headers of which two would contradict each other."""


class StrictRoute(APIRoute):
    """Refuses what would be ignored otherwise: an unknown parameter, one given twice, JSON that two
    programs could read differently."""

    def get_route_handler(self) -> Callable[[HttpRequest], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        parameters = {one.alias for one in self.dependant.query_params}
        body = self.body_field

        async def checked(request: HttpRequest) -> Response:
            _check_headers(request)
            _check_query(request, parameters)
            if body is not None:
                await json_body.check(request, optional=not body.field_info.is_required())
            return await handle(request)

        return checked


def _check_headers(request: HttpRequest) -> None:
    for name in ONCE:
        if len(request.headers.getlist(name)) > 1:
            raise Malformed(f"The header `{name}` is given twice.", "Give it once.")


def _check_query(request: HttpRequest, known: set[str]) -> None:
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            raise RequestError(
                f"Unknown parameter {name[:100]!r}.",
                did_you_mean(name[:100], known)
                or (f"Known are {', '.join(sorted(known))}." if known else "It takes none."),
            )
        if count > 1:
            raise RequestError(f"The parameter `{name}` is given {count} times.", "Give it once.")
