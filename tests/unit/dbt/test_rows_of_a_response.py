"""What an adapter says of the rows it wrote, in whatever form."""

from __future__ import annotations

import pytest

from mage_dbt.dbt.results.recorder import rows_of


@pytest.mark.parametrize(
    ("said", "rows"),
    [(3, 3), (3.0, 3), ("3", 3), (0, 0), (-1, None), ("-1", None), ("", None), (None, None)],
)
def test_rows_are_a_number_or_unknown(said: object, rows: int | None) -> None:
    assert rows_of({"rows_affected": said}) == rows


def test_a_response_may_say_nothing_of_rows() -> None:
    assert rows_of({}) is None
