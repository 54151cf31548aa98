"""The page `/ask/undo`: the table of before a refresh is brought back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter

from mage_dbt.base.text import spelled
from mage_dbt.errors import NoCommitReady, NotFound, RequestError
from mage_dbt.model.refresh import CheckName
from mage_dbt.model.request import Operation
from mage_dbt.server.pages import asking, plan_page
from mage_dbt.server.pages.asking import PlanOf
from mage_dbt.server.pages.site import Page, Site


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""

    def wanted(fields: Mapping[str, str]) -> Mapping[str, Any]:
        models = asking.names_in(fields)
        asking.require_names(fields.get("name", ""), [_name(site, model) for model in models])
        override = [str(CheckName.SNAPSHOT)] if fields.get("override_snapshot") else ""
        return {**_request(models), "override": override}

    make = partial(_page, site)
    plan_page.add(router, site, "/ask/undo", "ask_undo_plan.html", make, wanted)


def _request(models: Sequence[str]) -> dict[str, Any]:
    return {
        "operation": Operation.UNDO_REFRESH.value,
        "models": [spelled(model) for model in models],
    }


def _name(site: Site, model: str) -> str:
    """The name of the model; one that is gone from the live commit is called as it was named."""
    try:
        return asking.model_named(site, model).name
    except (NotFound, RequestError, NoCommitReady):
        return model


def _page(site: Site, fields: Mapping[str, str], plan_of: PlanOf) -> Page:
    models = asking.names_in(fields)
    asked = plan_of(_request(models))
    values = {
        **asking.swap_values(asked, {model: _name(site, model) for model in models}),
        "checks": (CheckName.SNAPSHOT,),
        "key": asking.new_key(),
    }
    return Page("ask_undo.html", None, values, asked.status)
