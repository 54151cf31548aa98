"""A page that shows what a request would do: at once, or as a live part when dbt plans for long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mage_dbt.errors import WorkspaceError
from mage_dbt.server.pages import asking, live
from mage_dbt.server.pages.asking import Asked, Make, Refusal, Wanted
from mage_dbt.server.pages.site import JSON_SUFFIX, Page, Site
from mage_dbt.server.pages.soon import Soon

WAIT_SECONDS = 0.12
"""How long a page waits for its plan."""

KEPT_SECONDS = 10.0
"""How long a plan that a page did not wait for is kept for its live part."""

WHOLE = "whole"
"""The parameter of an address with which the page waits for its plan."""


def add(
    router: APIRouter,
    site: Site,
    path: str,
    part: str,
    make: Make,
    wanted: Wanted,
    needs_digest: bool = True,
) -> None:
    """Adds the page that `make` makes, its address with `.json`, which waits for the plan, and its
    form, which begins the run that `wanted` asks for (see `asking.begin`).

    `part` is the template of what needs the plan. When that comes later, the page has the
    addresses `live_part`, and `whole` for who has no scripts.
    """
    soon = Soon[Asked](KEPT_SECONDS)

    def planned(http: HttpRequest, asked: Mapping[str, Any], seconds: float | None) -> Asked:
        found = soon.of(_key(site, http, asked), lambda: asking.plan(site, http, asked), seconds)
        return found or Asked(comes=True)

    def show(http: HttpRequest) -> Page:
        fields = _fields(http)
        if http.url.path.endswith(JSON_SUFFIX):
            page = make(fields, lambda asked: asking.plan(site, http, asked))
            return replace(page, data=page.values["asked"].data) if "asked" in page.values else page
        seconds = None if fields.pop(WHOLE, "") else WAIT_SECONDS
        page = make(fields, lambda asked: planned(http, asked, seconds))
        later = {
            "live_part": site.address(http, f"/live{path}", **fields),
            "whole": site.address(http, path, **{**fields, WHOLE: "yes"}),
        }
        return replace(page, values={**page.values, **later})

    async def update(http: HttpRequest) -> Mapping[str, Any] | None:
        fields, needed = _fields(http), []

        def need(asked: Mapping[str, Any]) -> Asked:
            needed.append(asked)
            return Asked(comes=True)

        await asyncio.to_thread(make, fields, need)
        if not needed:
            return None  # this address needs no plan
        [asked] = needed
        try:
            key = _key(site, http, asked)
            found = await soon.made(key, lambda: asking.plan(site, http, asked))
        except WorkspaceError as error:  # a part that fails would be made again and again
            found = Asked(refused=Refusal(error))
        page = await asyncio.to_thread(make, fields, lambda _: found)
        return {**page.values, "over": True}

    def act(http: HttpRequest, fields: dict[str, str]) -> Response | Page:
        return asking.begin(site, http, fields, wanted, make, needs_digest)

    site.page(router, path, show)
    site.action(router, path, act)
    live.add(router, site, f"/live{path}", part, update)


def _key(site: Site, http: HttpRequest, asked: Mapping[str, Any]) -> str:
    """The same for the same request of the same person."""
    reader = site.reader(http)
    return json.dumps([reader.name, reader.role, asked])


def _fields(http: HttpRequest) -> dict[str, str]:
    """Those of the address; several models become one list."""
    models = http.query_params.getlist("model")
    return {**http.query_params, **({"model": ",".join(models)} if models else {})}
