"""A file that asks a runner for the daily build says when it is due: else it fails until 08:00."""

from __future__ import annotations

import re

from mage_dbt.settings import CHECKOUT

ASKS = re.compile(r"\.daily_build\(\)|\bcause=\"schedule\"")
SAYS = re.compile(r"due_at_midnight\(|\bDAILY_BUILD_AT\b")


def test_a_file_that_asks_a_runner_for_the_daily_build_says_when_it_is_due() -> None:
    texts = {file: file.read_text() for file in (CHECKOUT / "tests").glob("*/test_*.py")}
    asking = {
        file.name: text
        for file, text in texts.items()
        if ASKS.search(text) and "from tests.harness.runner import" in text
    }
    assert asking
    assert [name for name, text in asking.items() if not SAYS.search(text)] == []
