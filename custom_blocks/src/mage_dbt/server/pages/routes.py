"""All addresses of the page."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from mage_dbt.errors import NotFound
from mage_dbt.identity.role import Role
from mage_dbt.server.pages import (
    assets,
    commits_page,
    decisions,
    docs_page,
    languages,
    model_page,
    models_page,
    now_page,
    protection,
    refresh_page,
    rerun_page,
    run_model_page,
    run_page,
    runs_page,
    settings_page,
    undo_page,
)
from mage_dbt.server.pages.site import Site

PAGES = (
    now_page,
    runs_page,
    run_page,
    models_page,
    model_page,
    commits_page,
    settings_page,
    rerun_page,
    run_model_page,
    refresh_page,
    undo_page,
    decisions,
    docs_page,
)
"""Each adds its addresses; the order is that in which they are looked through."""

OURS = re.compile(
    r"/|/now\.json|/(runs|models|commits|settings)(\.json|/.*)?|/(ask|live|static|language|docs)/.*"
)
"""Paths of the page; all others are the API's."""

YEAR_SECONDS = 31_536_000


def is_page(path: str) -> bool:
    """Whether the path, without the people's prefix, is one of the page's."""
    return OURS.fullmatch(path) is not None


def routes(site: Site) -> APIRouter:
    """The endpoints of the page."""
    router = APIRouter()
    for page in PAGES:
        page.add(router, site)
    _add_language(router, site)
    router.include_router(assets.routes())
    return router


def _add_language(router: APIRouter, site: Site) -> None:
    def language(http: HttpRequest, fields: dict[str, str], code: str) -> Response:
        """Keeps the reader's language and leads back to where they were."""
        if code not in languages.LANGUAGES:
            raise NotFound(f"The page is not written in {code[:20]!r}.")
        back = fields.get("back", "/")
        back = back if is_page(back.split("?")[0]) else "/"
        path, _, query = back.partition("?")
        asked = urlencode(parse_qsl(query))
        address = site.address(http, path) + (f"?{asked}" if asked else "")
        answer = RedirectResponse(address, 303, protection.HEADERS)
        reader = site.reader(http)
        if reader.signed_in:
            site.languages.keep(reader.name, code)
            return answer
        answer.set_cookie(languages.COOKIE, code, YEAR_SECONDS, samesite="lax", httponly=True)
        return answer

    # What is kept comes by a form: an address alone could be linked to by anybody.
    site.action(router, "/language/{code}", language, Role.VIEWER, needs_ledger=False)
