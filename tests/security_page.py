"""The tables of docs/security.md that the tests write: each says what a run of the tests got."""

from __future__ import annotations

import re

import pytest

from mage_dbt.settings import CHECKOUT

PAGE = CHECKOUT / "docs" / "security.md"


def keep_table(begin: str, end: str, rows: str, request: pytest.FixtureRequest, how: str) -> None:
    """Fails when `rows` is not what stands between the marks; with --write-attacks puts it there.

    `how` is what the reader of the failure runs to write it.
    """
    text = PAGE.read_text()
    found = re.search(f"{re.escape(begin)}(.*?){re.escape(end)}", text, re.DOTALL)
    assert found, f"{PAGE} has no place for the table"
    if request.config.getoption("--write-attacks"):
        PAGE.write_text(text.replace(found[0], f"{begin}{rows}{end}"))
        return
    assert found[1] == rows, f"another table: {how} --write-attacks writes it"
