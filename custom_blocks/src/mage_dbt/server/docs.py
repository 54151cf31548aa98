"""dbt's documentation of the live commit: how far it is, and its page in a sandbox."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, Response

from mage_dbt.errors import RequestError
from mage_dbt.model.docs import Docs
from mage_dbt.model.problems import declared
from mage_dbt.runner.service import Runner
from mage_dbt.server.packing import takes_gzip
from mage_dbt.server.strict_route import StrictRoute

PAGE = "/docs/"
"""The page that has the documentation in a frame."""

SANDBOX: Mapping[str, str] = {
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; "
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
    "font-src data:; connect-src 'none'; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}
"""dbt's page needs scripts of its own, and shows texts that anybody wrote as HTML. In the sandbox
it has no origin: it reaches neither cookies nor storage nor an answer of ours, and loads nothing.
No Cross-Origin-Opener-Policy: a browser refuses a sandboxed page with one."""


def routes(runner: Runner) -> APIRouter:
    """The endpoints of the documentation."""
    router = APIRouter(tags=["workspace"], route_class=StrictRoute)

    @router.get(
        "/v1/docs",
        operation_id="docs",
        response_class=JSONResponse,
        responses={200: {"model": Docs}, **declared((RequestError,))},
    )
    def docs() -> JSONResponse:
        """Whether dbt's documentation of the live commit is there; its page is at /docs/."""
        return JSONResponse(runner.documentation.state().to_json())

    @router.post(
        "/v1/docs",
        operation_id="make_docs",
        status_code=202,
        response_class=JSONResponse,
        responses={202: {"model": Docs}, **declared((RequestError,))},
    )
    def make() -> JSONResponse:
        """Has dbt make the documentation of the live commit, unless it is there."""
        return JSONResponse(runner.documentation.ask().to_json(), 202)

    return router


def page(http: HttpRequest, file: Path) -> Response:
    """The documentation in its sandbox; `file` is packed with gzip."""
    if takes_gzip(http):
        packed = {**SANDBOX, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return FileResponse(file, media_type="text/html", headers=packed)
    return Response(gzip.decompress(file.read_bytes()), 200, SANDBOX, "text/html")
