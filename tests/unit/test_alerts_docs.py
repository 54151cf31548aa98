"""The pages for the one who is told say what the code does."""

from __future__ import annotations

import re

import pytest

from mage_dbt.alerts.deadline import UNSET_AFTER
from mage_dbt.alerts.post import Patience
from mage_dbt.alerts.watcher import BROKEN_FOR, NEWS_FOR, SETTLE
from mage_dbt.settings import CHECKOUT

DOCS = CHECKOUT / "docs"


def text_of(page: str) -> str:
    return " ".join((DOCS / page).read_text().split())


def test_the_times_on_the_page_are_those_of_the_code() -> None:
    text, patience = text_of("alerts.md"), Patience()
    assert f"Each try has {patience.one_try:.0f} s" in text
    assert patience.pauses == (5, 15, 60, 120, 300, 600)
    assert "the pauses are 5 s, 15 s, 1, 2, 5 and then 10 minutes, for two hours" in text
    assert patience.altogether == 2 * 3600
    assert (SETTLE.total_seconds(), BROKEN_FOR.total_seconds()) == (120, 300)
    assert "waits two minutes for the late build" in text
    assert "not been repaired within five minutes" in text
    assert NEWS_FOR.total_seconds() == 12 * 3600 and "within 12 hours of a run's end" in text
    assert UNSET_AFTER.total_seconds() == 3600 and "one hour after `DAILY_BUILD_AT`" in text


@pytest.mark.parametrize("page", ["operations.md", "alerts.md"])
def test_links_inside_a_page_lead_to_a_heading(page: str) -> None:
    text = (DOCS / page).read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
    for target in re.findall(r"\]\(#([^)]+)\)", text):
        assert target in anchors, target
