"""How far a run is, on its own page while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mage_dbt.server.pages.site import Site

MOST_AT_WORK = 20
"""Nodes being built that are named."""


def values(site: Site, run: str) -> Mapping[str, Any] | None:
    """How far the run is; None where there is no such run. The last ones have `over`."""
    found = site.runner.progresses.now(run)
    if found is None:
        return None
    return {
        "run_id": run,
        "progress": found,
        "most_at_work": MOST_AT_WORK,
        "over": found.state.final,
    }
