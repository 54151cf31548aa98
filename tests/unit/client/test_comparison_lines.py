"""What people read of a comparison of the present rows with the new ones."""

from __future__ import annotations

from dataclasses import replace

from mage_dbt.client.refresh_lines import comparison_lines
from mage_dbt.model.refresh import ColumnComparison, Comparison

EQUAL = Comparison(
    "model.shop.fct_orders",
    "fct_orders",
    key=("id",),
    rows_before=8000,
    rows_after=7997,
    only_before=0,
    only_after=0,
    changed=0,
    equal_columns=22,
)


def test_equal_rows_are_said_to_be_equal() -> None:
    assert list(comparison_lines(EQUAL)) == [
        "fct_orders: 8,000 rows now, 7,997 new; nothing differs",
        "    22 other columns are equal in every compared row",
    ]


def test_a_column_of_one_side_shows_its_most_common_values() -> None:
    columns = (
        ColumnComparison(
            "has_discount",
            after="boolean",
            nulls_after=0,
            distinct_after=2,
            examples=(("80 %", None, "f"), ("20 %", None, "t")),
        ),
        ColumnComparison("old", before="text", nulls_before=3, examples=(("90 %", "x", None),)),
    )
    assert list(comparison_lines(replace(EQUAL, columns=columns)))[1:-1] == [
        "    has_discount: new, boolean; nulls 0; distinct values 2",
        "        most common: f (80 %), t (20 %)",
        "    old: gone, was text; nulls 3",
        "        most common: x (90 %)",
    ]


def test_rows_that_were_not_compared_say_why_and_what_is_known_stays() -> None:
    column = ColumnComparison("note", "text", "text", nulls_before=1, nulls_after=5)
    found = replace(
        EQUAL, only_before=None, only_after=None, changed=None, unknown="120 s are too few"
    )
    assert list(comparison_lines(replace(found, columns=(column,), equal_columns=0))) == [
        "fct_orders: 8,000 rows now, 7,997 new; not compared: 120 s are too few",
        "    note: nulls 1 -> 5",
    ]


def test_why_whole_rows_were_compared_is_said() -> None:
    note = "id is not unique in the present rows (7), so whole rows were compared."
    found = replace(EQUAL, key=(), only_before=2, changed=None, notes=(note,), equal_columns=0)
    assert list(comparison_lines(found)) == [
        "fct_orders: 8,000 rows now, 7,997 new; 2 only now, 0 only in the new",
        f"    {note}",
    ]


def test_many_columns_and_wide_rows_are_counted() -> None:
    columns = tuple(ColumnComparison(f"c{at}", "int", "int", 1) for at in range(300))
    row = {f"c{at}": str(at) for at in range(300)}
    found = replace(EQUAL, changed=1, columns=columns, only_after=1, only_after_rows=(row,))
    lines = list(comparison_lines(found))
    assert len(lines) == 14
    assert lines[11] == "    290 more columns differ"
    assert lines[12].endswith("c9=9 and 290 more")
