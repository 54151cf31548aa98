"""Real requests, shown in the OpenAPI document; a test parses each."""

from __future__ import annotations

from typing import Any

from mage_dbt.api.schemas import RUN_EXAMPLE


def _example(summary: str, **value: Any) -> dict[str, Any]:
    return {"summary": summary, "value": value}


RUNS: dict[str, Any] = {
    "rerun_the_morning": _example(
        "The failed morning again, what is left of it",
        operation="rerun_failed",
        why="the source is loaded now",
    ),
    "one_model": _example(
        "One model and what depends on it",
        operation="build",
        select="fct_orders+",
        why="late data",
        caller="kim in #data-alerts",
    ),
    "rerun_one_run": _example(
        "What did not pass in one run, on that run's own commit",
        operation="rerun_failed",
        of=RUN_EXAMPLE,
        commit="same",
        why="the database was full",
    ),
    "full_refresh": _example(
        "All rows of an incremental model, after a column was added",
        operation="full_refresh",
        select=["fct_orders", "fct_order_items"],
        variables={"days": 7},
        why="new column discount",
    ),
    "command": _example(
        "A dbt command", operation="command", command="test --select tag:daily", why="a check"
    ),
}

CANCEL: dict[str, Any] = {
    "who": _example("Who and why", by="kim: the wrong model"),
    "nothing": _example("Nothing to say"),
}
