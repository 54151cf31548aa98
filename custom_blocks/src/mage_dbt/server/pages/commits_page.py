"""The page `/commits`: which commit is live, what is being made ready, what is broken."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest

from mage_dbt.model.published import Published
from mage_dbt.server.pages import live
from mage_dbt.server.pages.site import Page, Site


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""

    def show(http: HttpRequest) -> Page:
        published = site.runner.published()
        return Page("commits.html", published.to_json(), values(published))

    site.page(router, "/commits", show)
    live.add(
        router,
        site,
        "/live/commits",
        "commits_live.html",
        lambda http: values(site.runner.published()),
    )


def values(published: Published) -> Mapping[str, Any]:
    """What the template shows."""
    broken = published.broken
    return {
        "published": published,
        "broken_since": datetime.fromtimestamp(broken.since, UTC) if broken else None,
    }
