"""The page of one model: `/models/{unique id or name}`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest

from mage_dbt.ledger.run_node import RunNode
from mage_dbt.model.shown_model import LastResult, ShownModel
from mage_dbt.runner.catalogue import MONTH, Catalogue
from mage_dbt.server.nodes import compiled_sql
from mage_dbt.server.pages.lineage import Lineage, Mark, Shown, lineage
from mage_dbt.server.pages.markdown import first_line, markdown
from mage_dbt.server.pages.site import Page, Site

DRAWN_LEVELS = 2
"""Of the lineage, on each side."""

MOST_DRAWN = 400
"""Nodes whose places are worked out; those that have no room share boxes."""

SHOWN_RESULTS = 5
"""That stand on the page at once; the others are behind them."""


def add(router: APIRouter, site: Site) -> None:
    """Adds its addresses."""

    def show(http: HttpRequest, node: str) -> Page:
        found = site.catalogue.called(node)
        if len(found) > 1:
            return Page(
                "model_choice.html",
                {"name": node, "nodes": list(found)},
                {"models": [m for m in site.catalogue.live.models if m.node in found]},
            )
        shown = site.catalogue.show(found[0])
        compiled, compiled_note = _compiled(site, shown)
        values = {
            "model": shown,
            "picture": _picture(site.catalogue, shown),
            "compiled": compiled,
            "compiled_note": compiled_note,
            "series": _series(shown, str(site.zone)),
            "relation": _relation(shown.relation),
            "described": markdown(shown.description),
            "markdown": markdown,
            "first_line": first_line,
            "shown_results": SHOWN_RESULTS,
            "tested_since": _tested_since(shown, site.formats(http).now),
        }
        return Page("model.html", shown.to_json(), values)

    site.page(router, "/models/{node}", show)


def _compiled(site: Site, shown: ShownModel) -> tuple[str | None, str]:
    """The compiled SQL of the last run, or None; and a note."""
    run = shown.compiled_run
    if not run or shown.type not in ("model", "snapshot", "test", "unit_test"):
        return None, ""
    file = site.catalogue.compiled_file(run, shown.node)
    node = RunNode(shown.node, shown.name, shown.type, None, None, compiled=file)
    return compiled_sql(site.home.runs / run, node)


def _tested_since(shown: ShownModel, now: datetime) -> datetime | None:
    """Since when there are results of all its tests that have any; None when for 30 days."""
    first = [test.known_since for test in shown.tests if test.known_since]
    return max(first) if first and max(first) > now - MONTH else None


def _relation(name: str) -> str:
    """Schema and name, as people say them: `analytics.fct_orders`."""
    return ".".join(part.strip('"`[]') for part in name.split(".")[-2:])


def _series(shown: ShownModel, zone: str) -> dict[str, Any]:
    """Duration and rows over time, the oldest first, for the charts."""
    results = [past for past in reversed(shown.results) if past.status != "skipped"]
    return {
        "zone": zone,
        "times": [round(past.at.timestamp()) for past in results],
        "seconds": [round(past.seconds, 2) for past in results],
        "rows": [past.rows if past.built else None for past in results],
        "passed": [past.status in ("success", "pass") for past in results],
    }


def _picture(catalogue: Catalogue, shown: ShownModel) -> Lineage | None:
    """What is up to two levels around the node; None where nothing is."""
    graph = catalogue.graph()
    near = [
        neighbour
        for neighbour in (*shown.upstream, *shown.downstream)
        if neighbour.distance <= DRAWN_LEVELS
    ]
    if graph is None or not near:
        return None
    near = sorted(near, key=lambda neighbour: neighbour.distance)[:MOST_DRAWN]
    nodes = [Shown(shown.node, shown.name, shown.type)]
    nodes += [Shown(other.node, other.name, other.type) for other in near]
    drawn = {box.node for box in nodes}
    edges = [
        (read, node)
        for node in drawn
        if node in graph.nodes
        for read in graph.nodes[node].reads
        if read in drawn
    ]
    own = shown.results[0].status if shown.results else ""
    marks = {other.node: Mark(_status(other.last)) for other in near}
    marks[shown.node] = Mark(own, focus=True)
    return lineage(nodes, edges, marks)


def _status(last: LastResult | None) -> str:
    return last.status if last else ""
