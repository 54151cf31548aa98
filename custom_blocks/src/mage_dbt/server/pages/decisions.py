"""Decisions on a run that goes on: cancel it, or let its refresh swap.

The part of a run's page where a refresh shows its comparison is `refresh_decision.html`; it needs
the `run`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mage_dbt.errors import Conflict, RequestError
from mage_dbt.model import problems
from mage_dbt.model.body import PLAIN
from mage_dbt.model.run import Run
from mage_dbt.server.pages import asking
from mage_dbt.server.pages.asking import Refusal
from mage_dbt.server.pages.site import Page, Site
from mage_dbt.server.runs import with_reason

LONGEST_WHY = 200
"""Characters of a reason; it stands in one line with the name."""


def add(router: APIRouter, site: Site) -> None:
    """Adds their addresses."""

    def cancel(http: HttpRequest, fields: dict[str, str]) -> Response | Page:
        run = site.ledger.run(fields.get("run", ""))

        def decide() -> Run:
            return site.runner.cancel(run.id, _by(site, http, fields))

        return _decided(site, http, run, decide)

    def swap(http: HttpRequest, fields: dict[str, str]) -> Response | Page:
        run = site.ledger.run(fields.get("run", ""))

        def decide() -> Run:
            asking.require_names(fields.get("name", ""), run.refreshed)
            return site.runner.swap(run.id, _by(site, http, fields))

        return _decided(site, http, run, decide)

    site.action(router, "/ask/cancel", cancel)
    site.action(router, "/ask/swap", swap)


def refresh_values(site: Site, run: str) -> Mapping[str, Any]:
    """What a refresh finds, for the live part of its run's page. It is over once somebody is asked:
    a form is sent one time."""
    found = site.ledger.run(run)
    return {"run": found, "over": found.holds or found.state.final}


def _decided(site: Site, http: HttpRequest, run: Run, decide: Callable[[], Run]) -> Response | Page:
    """Decides, and leads to the run; what stands in the way is shown beside the question."""
    try:
        decide()
    except (RequestError, Conflict) as error:
        now = site.ledger.run(run.id)
        values = {"run": now, "refused": Refusal(error)}
        return Page("ask_decision.html", problems.problem(error), values, error.status)
    return site.see(http, f"/runs/{run.id}")


def _by(site: Site, http: HttpRequest, fields: Mapping[str, str]) -> str:
    """Who decides, and why, as the run's history has it. Raises RequestError for a reason that is
    no line of text."""
    why = fields.get("why", "").strip()
    if len(why) > LONGEST_WHY or not re.match(PLAIN, why):
        raise RequestError(
            f"The reason is longer than {LONGEST_WHY} characters, or more than one line.",
            "Write a shorter one.",
        )
    return with_reason(site.reader(http).name, why)
