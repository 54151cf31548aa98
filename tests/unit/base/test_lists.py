"""A list of names in one text is read back as it was, whatever the names hold."""

from __future__ import annotations

import pytest

from mage_dbt.base.lists import listed, names_of


@pytest.mark.parametrize(
    "names",
    [
        ["facts"],
        ["facts", "totals"],
        ["facts,totals"],
        ["facts,totals", "facts", "totals"],
        ['"facts"', 'a "b", c', '"', ",", '""'],
        [" facts ", "\tfacts", "a\nb", "매출,월별"],
    ],
)
def test_names_come_back_as_they_were(names: list[str]) -> None:
    assert names_of(listed(names)) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("facts, totals ,,facts", ["facts", "totals"]),
        ('"facts, totals" , numbers', ["facts, totals", "numbers"]),
        ('"facts', ['"facts']),
        ('"facts"s,totals', ['"facts"s', "totals"]),
        ("", []),
        (" , ", []),
    ],
)
def test_what_somebody_typed_is_read(text: str, names: list[str]) -> None:
    assert names_of(text) == names
