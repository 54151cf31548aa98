"""Whatever a caller calls himself, it ends no comment, no literal and no name."""

from __future__ import annotations

import pytest

from mage_dbt.dbt.sessions.names import LONGEST_NAME, application_name, plain

NASTY = ["*/ drop table x; --", "a\nb\x00c", "'\"\\{{ 1/0 }}{% raw %}", "김민수", "é" * 200, " "]


@pytest.mark.parametrize("caller", NASTY)
def test_a_callers_name_is_plain(caller: str) -> None:
    for text in (plain(caller), application_name("20261123-080000-4f2a9c", caller)):
        assert text.isascii() and text.isprintable() and text.strip()
        assert not set(text) & set("*/'\"\\{}%\n;")
    assert len(application_name("20261123-080000-4f2a9c", caller)) <= LONGEST_NAME


def test_an_ordinary_name_stays_readable() -> None:
    assert plain("kim@example.com") == "kim@example.com"
    assert plain("René, on call") == "Rene, on call"
    assert application_name("r", "Mage, trigger x") == "mage-dbt r Mage, trigger x"
