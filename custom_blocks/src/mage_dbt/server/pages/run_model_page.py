"""The page `/ask/run`: one model is chosen by a few letters, and built again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter

from mage_dbt.ledger.node_history import LOOKED_AT, NodeHistory
from mage_dbt.model.commit import Model
from mage_dbt.model.request import Operation
from mage_dbt.server.models import search
from mage_dbt.server.pages import asking, plan_page
from mage_dbt.server.pages.asking import PlanOf, Steps
from mage_dbt.server.pages.site import Page, Site

MOST_FOUND = 50
"""Models that a search lists; further ones are counted."""

WITH: Mapping[str, Mapping[str, bool]] = {
    "": {},
    "readers": {"with_downstream": True},
    "read": {"with_upstream": True},
    "both": {"with_upstream": True, "with_downstream": True},
}
"""What is built beside the model, by the word in the address."""


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""

    def make(fields: Mapping[str, str], plan_of: PlanOf) -> Page:
        if not fields.get("model"):
            return _choice(site, fields.get("search", ""))
        return _page(site, fields, plan_of)

    wanted = partial(_request, site)
    plan_page.add(router, site, "/ask/run", "ask_run_plan.html", make, wanted)


def _choice(site: Site, wanted: str) -> Page:
    """The list of models that match, the best first; all of them without a search."""
    found = search(site.runner.models(), wanted)
    listed = [_short(model) for model in found[:MOST_FOUND]]
    return Page(
        "ask_run_choice.html",
        {"models": listed, "found": len(found)},
        {"models": listed, "more": len(found) - len(listed), "search": wanted},
    )


def _short(model: Model) -> dict[str, str]:
    return {
        "node": model.node,
        "name": model.name,
        "type": model.type,
        "description": model.description,
    }


def _request(site: Site, fields: Mapping[str, str]) -> dict[str, Any]:
    model = asking.model_named(site, fields.get("model", ""))
    return {
        "operation": Operation.BUILD.value,
        "models": [asking.short_name(site, model)],
        **WITH.get(fields.get("with", ""), {}),
    }


def _page(site: Site, fields: Mapping[str, str], plan_of: PlanOf) -> Page:
    model = asking.model_named(site, fields.get("model", ""))
    asked = plan_of(_request(site, fields))
    results = NodeHistory(site.ledger).results(model.node, LOOKED_AT)
    values = {
        "asked": asked,
        "model": model,
        "last": next((past for past in results if past.status != "skipped"), None),
        "chosen": fields.get("with", "") if fields.get("with", "") in WITH else "",
        "steps": Steps.of(asked.plan) if asked.plan else None,
        "key": asking.new_key(),
    }
    return Page("ask_run.html", None, values, asked.status)
