"""The page `/ask/rerun`: what did not pass in a run, once more."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter

from mage_dbt.ledger.run_view import RunView
from mage_dbt.model.plan import Plan
from mage_dbt.model.request import SAME_COMMIT, Operation
from mage_dbt.model.run import Run
from mage_dbt.server.pages import asking, plan_page
from mage_dbt.server.pages.asking import Asked, PlanOf, Steps
from mage_dbt.server.pages.site import Page, Site

NEWEST = "newest"
"""The commit that is named when none is."""


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""

    plan_page.add(
        router,
        site,
        "/ask/rerun",
        "ask_rerun_plan.html",
        partial(_page, site),
        _request,
        needs_digest=False,  # the button of the first page has no plan, and drops nothing
    )


def _request(fields: Mapping[str, str]) -> dict[str, Any]:
    commit = fields.get("commit", "")
    return {
        "operation": Operation.RERUN_FAILED.value,
        "of": fields.get("run", ""),
        "commit": "" if commit == NEWEST else commit,
        # A page does not wait for minutes; it says what is being made ready instead.
        **({} if commit not in ("", NEWEST) else {"wait_for_commit": False}),
    }


def _page(site: Site, fields: Mapping[str, str], plan_of: PlanOf) -> Page:
    named = fields.get("run", "")
    of = site.ledger.head(named) if named else site.ledger.last_full_build()
    asked = plan_of(_request({**fields, "run": of.id if of else ""}))
    return Page("ask_rerun.html", None, _values(site, asked, of, fields), asked.status)


def _values(site: Site, asked: Asked, of: Run | None, fields: Mapping[str, str]) -> dict[str, Any]:
    live = site.runner.commits.live
    return {
        "asked": asked,
        "of": of,
        "steps": _steps(site, asked.plan, of) if asked.plan and of else None,
        "commit": fields.get("commit", "") or NEWEST,
        "other_commit": NEWEST if fields.get("commit") == SAME_COMMIT else SAME_COMMIT,
        "commits_differ": bool(of and live and of.commit != live.sha),
        "key": asking.new_key(),
    }


def _steps(site: Site, plan: Plan, of: Run) -> Steps:
    nodes = [node.node for node in plan.nodes]
    return Steps.of(plan, RunView(site.ledger).last_statuses(of.id, nodes))
