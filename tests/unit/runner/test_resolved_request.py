"""How a request is refreshed follows from itself and the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mage_dbt.model.refresh import RefreshOptions
from mage_dbt.model.request import Request
from mage_dbt.runner.resolved_request import refresh_options
from mage_dbt.settings import Settings

SETTINGS = Settings.load(
    {"REFRESH_ROWS_PERCENT": "90-150", "REFRESH_HOLD_MINUTES": "5", "REFRESH_KEEP_DAYS": "3"},
    Path("/no/such.env"),
)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"models": "orders"},
        {"operation": "full_refresh", "models": "orders", "in_place": True},
        {"operation": "command", "command": "build --full-refresh --select orders"},
        {"operation": "rerun_failed"},
    ],
)
def test_what_is_not_swapped_has_no_options(asked: dict[str, Any]) -> None:
    assert refresh_options(SETTINGS, Request.parse(asked)) is None


def test_a_refresh_is_done_as_the_settings_say() -> None:
    for operation in ("full_refresh", "undo_refresh"):
        asked = Request.parse({"operation": operation, "models": "orders"})
        found = refresh_options(SETTINGS, asked)
        assert found == RefreshOptions(keep_days=3, rows_percent=(90, 150))


def test_a_refresh_is_done_as_its_request_says() -> None:
    asked = {"show_first": True, "override": "rows", "why": "test orders are gone"}
    found = refresh_options(
        SETTINGS, Request.parse({"operation": "full_refresh", "models": "orders", **asked})
    )
    assert found is not None
    assert (found.hold_seconds, found.override) == (300, ("rows",))
