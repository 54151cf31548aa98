"""The page `/`: one sentence, a colour, one thing to press, and why it cannot be pressed yet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest

from mage_dbt.model.now import Now
from mage_dbt.server.pages import live, now_words
from mage_dbt.server.pages.run_words import run_words
from mage_dbt.server.pages.site import NOW_JSON, Page, Site


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""

    def show(http: HttpRequest) -> Page:
        now = site.runner.now()
        return Page("now.html", now.to_json(), values(site, http, now))

    def update(http: HttpRequest) -> Mapping[str, Any]:
        # One token for the whole stream: with another in each look, each look would be news.
        if not hasattr(http.state, "token"):
            http.state.token = site.forms.token(site.reader(http).name)
        return {**values(site, http, site.runner.now()), "token": http.state.token}

    site.page(router, "/", show, as_json=NOW_JSON)
    live.add(router, site, "/live/now", "now_live.html", update)


def values(site: Site, http: HttpRequest, now: Now) -> dict[str, Any]:
    """What the template shows."""
    formats = site.formats(http)
    survey = site.runner.survey
    return {
        "stand": now,
        "words": now_words.words(
            now, formats, site.runner.schedule.last_known(now.at).build_at.hour < now_words.NOON
        ),
        "active": [(run, run_words(run, formats)) for run in now.active],
        "key": rerun_key(now, site.reader(http).name),
        "changed": [
            (model, now_words.columns_words(model, formats.texts))
            for model in (survey.changed if survey else ())
        ],
    }


def rerun_key(now: Now, reader: str) -> str:
    """The idempotency key of the button: the same until the rerun that it began is over.

    So it is one run also when somebody presses it again while the page changes under the hand.
    """
    if now.rerun is None:
        return ""
    text = "\0".join([reader, now.rerun.run, now.rerun.commit, str(now.reruns)])
    return f"page-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
