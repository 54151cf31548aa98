"""What the page `/models` sends, without a runner."""

from __future__ import annotations

from datetime import UTC, datetime

from mage_dbt.model.shown_model import GoneModel
from mage_dbt.server.pages.models_page import MOST_GONE, _on_last_page


def test_what_is_gone_is_sent_with_the_last_page_alone_and_bounded() -> None:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    gone = tuple(
        GoneModel(f"model.m.x{number}", f"x{number}", "model", "table", "", at, "r")
        for number in range(MOST_GONE + 1)
    )
    assert _on_last_page(gone, 1, 2) == ()
    assert _on_last_page(gone, 2, 2) == gone[:MOST_GONE]
    assert _on_last_page(gone[:2], 1, 1) == gone[:2]
