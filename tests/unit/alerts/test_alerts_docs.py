"""The page on alerts says what the code does."""

from __future__ import annotations

from mage_dbt.alerts.commit_alerts import BROKEN_FOR
from mage_dbt.alerts.delivery import RetryPolicy
from mage_dbt.alerts.overdue_alerts import SETTLE
from mage_dbt.alerts.watcher import NEWS_FOR
from mage_dbt.model.deadline import UNSET_AFTER
from mage_dbt.settings import CHECKOUT

DOCS = CHECKOUT / "docs"


def text_of(page: str) -> str:
    return " ".join((DOCS / page).read_text().split())


def test_the_times_on_the_page_are_those_of_the_code() -> None:
    text, policy = text_of("alerts.md"), RetryPolicy()
    assert f"Each try has {policy.attempt_seconds:.0f} s" in text
    assert policy.pauses == (5, 15, 60, 120, 300, 600)
    assert "the pauses are 5 s, 15 s, 1, 2, 5 and then 10 minutes, for two hours" in text
    assert policy.total_seconds == 2 * 3600
    assert (SETTLE.total_seconds(), BROKEN_FOR.total_seconds()) == (120, 300)
    assert "waits two minutes for the late build" in text
    assert "not been repaired within five minutes" in text
    assert NEWS_FOR.total_seconds() == 12 * 3600 and "within 12 hours of a run's end" in text
    assert UNSET_AFTER.total_seconds() == 3600 and "one hour after the build's time" in text
