"""Which pipeline in Mage stands for what somebody asked for, and what its page is given."""

from __future__ import annotations

from typing import Any

import pytest

from mage_dbt.base import redaction
from mage_dbt.base.redaction import STARS
from mage_dbt.mage.project import PIPELINES
from mage_dbt.model.request import Request
from mage_dbt.runner.mage_records import LONGEST_SHOWN, pipeline_of, variables_of

RUN = "20261123-080000-4f2a9c"


@pytest.mark.parametrize(
    ("asked", "pipeline"),
    [
        ({}, "daily_full_build"),
        ({"exclude": "tag:slow"}, "daily_full_build"),
        ({"select": "fct_orders"}, "single_model_rerun"),
        ({"operation": "full_refresh", "select": "fct_orders"}, "incremental_full_refresh"),
        ({"operation": "undo_refresh", "models": "fct_orders"}, "undo_refresh"),
        ({"operation": "rerun_failed"}, "rerun_failed"),
        ({"operation": "command", "command": "build --select a"}, "dbt_command"),
    ],
)
def test_each_operation_is_seen_as_the_pipeline_that_does_it(
    asked: dict[str, Any], pipeline: str
) -> None:
    assert pipeline_of(Request.parse(asked)) == pipeline
    assert pipeline in PIPELINES


def test_the_page_is_told_what_was_asked_and_by_whom_and_nothing_empty() -> None:
    request = Request.parse({"select": "a b+", "why": "late data", "caller": "kim"})
    expected = {"run": RUN, "model": "a b+", "why": "late data", "asked_by": "kim"}
    assert variables_of(RUN, request) == expected


def test_mage_is_given_no_value_of_a_variable_that_looks_secret() -> None:
    redaction.hide("hunter2-hunter2")
    given = {"day": "2026-11-30", "api_password": "typed", "note": "of hunter2-hunter2"}
    request = Request.parse({"select": "a", "variables": given})
    expected = {"day": "2026-11-30", "api_password": STARS, "note": f"of {STARS}"}
    assert variables_of(RUN, request)["variables"] == expected


def test_a_selection_of_thousands_is_cut_short_on_the_page() -> None:
    request = Request.parse({"select": [f"model_{n}" for n in range(1000)]})
    assert len(variables_of(RUN, request)["model"]) == LONGEST_SHOWN
