"""The page `/runs`: the history, with filters that live in the address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest

from mage_dbt.errors import RequestError
from mage_dbt.ledger.listing import RunFilter
from mage_dbt.ledger.run_view import RunView
from mage_dbt.model.request import Cause, Operation
from mage_dbt.model.run import PASSED, Run, RunState
from mage_dbt.server.caller import caller_of
from mage_dbt.server.pages.run_words import run_words
from mage_dbt.server.pages.site import JSON_SUFFIX, Page, Site
from mage_dbt.server.runs import links, without_secrets

PAGE = 50
"""Runs on one page."""

FILTERS = ("state", "operation", "cause", "caller", "commit", "node", "since", "until", "daily")
"""In the address; `since` and `until` are local dates, `daily` is `yes`."""


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""
    view = RunView(site.ledger)

    def show(http: HttpRequest) -> Page:
        query = http.query_params
        given = {name: query.get(name, "").strip() for name in (*FILTERS, "before")}
        given = {name: text for name, text in given.items() if text}
        try:
            found = site.ledger.page(wanted(given, site.zone), PAGE + 1)
            refusal = None
        except RequestError as error:
            if http.url.path.endswith(JSON_SUFFIX):
                raise
            found, refusal = [], error
        page = found[:PAGE]
        before = page[-1].id if len(found) > PAGE else None
        chosen = {name: text for name, text in given.items() if name != "before"}
        following = {**chosen, "before": before} if before else None
        prefix = caller_of(http.scope).prefix
        data = {
            "runs": [
                without_secrets(run.summary()) | {"links": links(run, prefix)} for run in page
            ],
            "next": site.address(http, "/runs.json", **following) if following else None,
        }
        values = {
            "rows": _rows(site, http, page),
            "given": {name: given.get(name, "") for name in (*FILTERS, "before")},
            "chosen": chosen,
            "following": following,
            "refusal": refusal,
            "states": list(RunState),
            "operations": list(Operation),
            "causes": list(Cause),
            "callers": view.callers(),
            "days": site.runner.now().days,
            "failed": {"state": str(RunState.ERROR)},
        }
        return Page("runs.html", data, values, 200 if refusal is None else refusal.status)

    site.page(router, "/runs", show)


def wanted(given: Mapping[str, str], zone: ZoneInfo) -> RunFilter:
    """The filter that an address means. Raises a RequestError that names what is wrong."""
    values: dict[str, Any] = dict(given)
    if "since" in given:
        values["since"] = _moment(given["since"], zone, timedelta())
    if "until" in given:
        values["until"] = _moment(given["until"], zone, timedelta(days=1))
    if "daily" in given:
        values["daily"] = given["daily"] not in ("no", "false")
    return RunFilter.parse(values)


def _moment(text: str, zone: ZoneInfo, later: timedelta) -> str:
    """A local date's midnight, or that of the day after; what is no date stays as it is."""
    try:
        day = date.fromisoformat(text) + later
    except (ValueError, OverflowError):
        return text
    return datetime.combine(day, time(), zone).isoformat()


def _rows(site: Site, http: HttpRequest, runs: list[Run]) -> list[tuple[Run, str, int]]:
    """Each run with its words, and how many of its nodes have passed."""
    formats = site.formats(http)
    here = {run.id: run for run in runs}
    missing = sorted({run.follows for run in runs if run.follows} - here.keys())
    known = here | {run.id: run for run in site.ledger.heads(missing)}
    return [
        (
            run,
            run_words(run, formats, known.get(run.follows or "")),
            sum(number for status, number in run.totals.items() if status in PASSED),
        )
        for run in runs
    ]
