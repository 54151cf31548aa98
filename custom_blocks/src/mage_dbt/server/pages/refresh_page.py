"""The page `/ask/refresh`: all rows of tables anew, built aside and compared first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from fastapi import APIRouter

from mage_dbt.errors import RequestError
from mage_dbt.model.commit import Model
from mage_dbt.model.graph import Graph
from mage_dbt.model.refresh import OVERRIDABLE
from mage_dbt.model.request import Operation
from mage_dbt.server.pages import asking, plan_page
from mage_dbt.server.pages.asking import PlanOf, Steps
from mage_dbt.server.pages.site import Page, Site

SHOW = "show"
"""The value of the field `then` for a refresh that stops after its comparison."""

SWAP = "swap"
"""The value of the field `then` for one that swaps when all checks pass."""

MOST_MODELS = 50
"""Of one refresh that is asked for here."""


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""

    def wanted(fields: Mapping[str, str]) -> Mapping[str, Any]:
        models = _models(site, fields)
        if fields.get("then") != SHOW:
            asking.require_names(fields.get("name", ""), [model.name for model in models])
        return {**_request(site, fields, models), **_way(fields)}

    make = partial(_page, site)
    plan_page.add(router, site, "/ask/refresh", "ask_refresh_plan.html", make, wanted)


def _models(site: Site, fields: Mapping[str, str]) -> list[Model]:
    """The models that the address or the form names. Raises RequestError without any."""
    names = asking.names_in(fields)
    if len(names) > MOST_MODELS:
        raise RequestError(f"One refresh takes up to {MOST_MODELS} models; these are {len(names)}.")
    return [asking.model_named(site, name) for name in names]


def _request(site: Site, fields: Mapping[str, str], models: Sequence[Model]) -> dict[str, Any]:
    """The fields of the request that the plan depends on."""
    return {
        "operation": Operation.FULL_REFRESH.value,
        "models": [asking.short_name(site, model) for model in models],
        "with_downstream": bool(fields.get("downstream")),
        "in_place": bool(fields.get("in_place")),
    }


def _way(fields: Mapping[str, str]) -> dict[str, Any]:
    """Those that it does not depend on."""
    if fields.get("in_place"):
        return {}
    return {
        "show_first": fields.get("then") == SHOW,
        "override": [str(check) for check in OVERRIDABLE if fields.get(f"override_{check}")] or "",
    }


def _page(site: Site, fields: Mapping[str, str], plan_of: PlanOf) -> Page:
    models = _models(site, fields)
    asked = plan_of(_request(site, fields, models))
    plan = asked.plan
    now = datetime.now(UTC)
    hold = timedelta(minutes=site.settings.refresh_hold_minutes)
    values = {
        **asking.swap_values(asked, {asking.short_name(site, one): one.name for one in models}),
        "steps": Steps.of(plan) if plan else None,
        # Other servers than PostgreSQL refresh in place, whatever was asked for.
        "in_place": bool(fields.get("in_place")) or (plan is not None and not plan.refresh),
        "asked_in_place": bool(fields.get("in_place")),
        "downstream": bool(fields.get("downstream")),
        "readers": _readers(site, models),
        "undo_until": now + timedelta(days=site.settings.refresh_keep_days),
        "hold_minutes": site.settings.refresh_hold_minutes,
        "build_waits": site.daily_build_by((asked.ends_at(now) or now) + hold),
        "checks": OVERRIDABLE,
        "show_key": asking.new_key(),
        "swap_key": asking.new_key(),
    }
    return Page("ask_refresh.html", None, values, asked.status)


def _readers(site: Site, models: Sequence[Model]) -> list[str]:
    """Names of the tables further down, which hold what they were built with."""
    live = site.runner.commits.live
    if live is None:
        return []
    try:
        graph = Graph.read(live.folder)
    except FileNotFoundError:
        return []
    below = graph.downstream(model.node for model in models)
    return sorted(
        graph.nodes[node].name
        for node in below
        if graph.nodes[node].materialized in ("table", "incremental", "materialized_view")
    )
