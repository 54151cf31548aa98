"""The page `/settings`: the daily build's time and pause, and who gets alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mage_dbt.errors import RequestError, WorkspaceError
from mage_dbt.identity import rights
from mage_dbt.mage.project import DAILY_PIPELINE
from mage_dbt.model.alert import Outcome
from mage_dbt.model.schedule import Outlook
from mage_dbt.model.schedule_change import ScheduleRequest
from mage_dbt.server.pages.site import Page, Site

SETTINGS = "/settings"

JUST_NOW = timedelta(minutes=1)
"""So long after a change its page says that it is saved."""

CHANGES = ("time", "pause", "resume", "reset")
"""The buttons of the form, by the value they send."""


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""

    def show(http: HttpRequest) -> Page:
        return _page(site, http)

    def change(http: HttpRequest, fields: Mapping[str, str]) -> Response | Page:
        try:
            now = site.formats(http).now
            found = site.runner.schedule.change(wanted(fields), site.reader(http).name, now)
        except RequestError as error:
            return _page(site, http, problem=error, given=fields)
        if found.schedule.at != now:
            return _page(site, http, unchanged=True)
        return site.see(http, SETTINGS, saved=fields["change"])

    def test_alerts(http: HttpRequest, fields: Mapping[str, str]) -> Page:
        try:
            return _page(site, http, tested=site.runner.send_test_alert())
        except WorkspaceError as error:
            return _page(site, http, alerts_problem=error)

    site.page(router, SETTINGS, show)
    site.action(router, f"{SETTINGS}/schedule", change, rights.WORKSPACE)
    site.action(router, f"{SETTINGS}/alert-test", test_alerts, rights.WORKSPACE)


def wanted(fields: Mapping[str, str]) -> ScheduleRequest:
    """The change of the schedule that a form asks for. Raises RequestError."""
    change = fields.get("change")
    if change not in CHANGES:
        raise RequestError("The form does not say what to change.", "Load the page again.")
    asked: dict[str, Any] = {"why": fields.get("why", "").strip() or None}
    if change == "time":
        asked["build_at"] = fields.get("build_at", "")
    elif change == "reset":
        asked["reset"] = True
    else:
        asked["paused"] = change == "pause"
        asked["paused_until"] = fields.get("paused_until", "").strip() or None
    return ScheduleRequest.read(asked)


def _page(
    site: Site,
    http: HttpRequest,
    problem: WorkspaceError | None = None,
    given: Mapping[str, str] | None = None,
    tested: Sequence[Outcome] | None = None,
    alerts_problem: WorkspaceError | None = None,
    unchanged: bool = False,
) -> Page:
    """The page; `problem` says why a form was not taken, `given` is what stood in it, and
    `unchanged` that a form asked for what held already."""
    reader = site.reader(http)
    now = site.formats(http).now
    outlook = site.runner.schedule.outlook(now)
    alerts = site.runner.alerts()
    failed = problem or alerts_problem
    return Page(
        "settings.html",
        {
            "schedule": outlook.to_json(),
            "alerts": alerts.to_json(),
            "reader": {"name": reader.name, "role": str(reader.role)},
        },
        {
            "outlook": outlook,
            "alerts": alerts,
            "problem": problem,
            "alerts_problem": alerts_problem,
            "given": given or {},
            "tested": tested,
            "saved": "saved" in http.query_params and _changed_last(outlook, reader.name, now),
            "unchanged": unchanged,
            "least": str(rights.WORKSPACE),
            "triggers": f"{site.mage_address}/pipelines/{DAILY_PIPELINE}/triggers",
        },
        failed.status if failed else 200,
    )


def _changed_last(outlook: Outlook, by: str, now: datetime) -> bool:
    """Whether that person has just made the last change. The address alone is no proof of it."""
    last = next(iter(outlook.changes), None)
    return last is not None and last.by == by and now - last.at < JUST_NOW
