"""The page `/docs/`: dbt's documentation of the live commit in a frame, or a button to make it."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mage_dbt.errors import NotFound
from mage_dbt.identity.origin import READING
from mage_dbt.model.docs import DocsState
from mage_dbt.server import docs
from mage_dbt.server.pages.site import JSON_SUFFIX, Page, Site

REFRESH_SECONDS = 2
"""Between two looks whether it is made; without JavaScript the page is loaded again as often."""

FRAME = docs.PAGE + "frame"

MAKE = docs.PAGE + "make"


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""

    def show(http: HttpRequest) -> Page:
        state = site.runner.documentation.state()
        making = state.state is DocsState.MAKING
        values = {"docs": state, "refresh": REFRESH_SECONDS if making else 0}
        return Page("docs.html", state.to_json(), values, frames=state.state is DocsState.READY)

    def frame(http: HttpRequest) -> Response:
        # In a tab of its own, what it shows could lead that tab elsewhere.
        if http.headers.get("sec-fetch-dest", "iframe") != "iframe":
            return site.see(http, docs.PAGE)
        file = site.runner.documentation.file()
        if file is None:
            raise NotFound("The documentation is not made.", f"Have it made at {docs.PAGE}.")
        return docs.page(http, file)

    def make(http: HttpRequest, fields: Mapping[str, str]) -> Response:
        site.runner.documentation.ask()
        return site.see(http, docs.PAGE)

    site.page(router, docs.PAGE, show, docs.PAGE + JSON_SUFFIX)
    router.add_api_route(FRAME, frame, methods=[*READING], include_in_schema=False)
    site.action(router, MAKE, make)
