"""What is said of an incremental model whose table has other columns."""

from __future__ import annotations

import pytest

from mage_dbt.model.refresh import ColumnChange
from mage_dbt.model.survey import ColumnsChanged

ADDED = ColumnChange("discount", "", "numeric")
REMOVED = ColumnChange("Old Price", "integer", "")
RETYPED = ColumnChange("id", "integer", "bigint")


def changed(on_schema_change: str, *columns: ColumnChange, refreshable: bool = True) -> str:
    model = ColumnsChanged(
        "model.m.fct_orders", "fct_orders", "a.fct_orders", on_schema_change, columns, refreshable
    )
    return model.question.removeprefix("fct_orders: ")


COMMAND = "; refresh? ./scripts/mage-dbt run full_refresh --model fct_orders"


@pytest.mark.parametrize(
    ("on_schema_change", "columns", "text"),
    [
        (
            "ignore",
            (ADDED,),
            "1 column in the model is not in the table (discount); on_schema_change ignores it",
        ),
        (
            "ignore",
            (ADDED, ColumnChange("tax", "", "numeric")),
            "2 columns in the model are not in the table (discount, tax); on_schema_change "
            "ignores them",
        ),
        (
            "ignore",
            (REMOVED,),
            "1 column in the table is not in the model (Old Price); on_schema_change ignores it, "
            "and the next build fails",
        ),
        (
            "fail",
            (RETYPED,),
            "another type: id integer -> bigint; on_schema_change makes the next build fail",
        ),
        (
            "append_new_columns",
            (ADDED, REMOVED),
            "1 column in the model is not in the table (discount); 1 column in the table is not "
            "in the model (Old Price); on_schema_change adds new columns with the next build, and "
            "leaves them empty in old rows",
        ),
        (
            "append_new_columns",
            (RETYPED,),
            "another type: id integer -> bigint; on_schema_change leaves it as it is",
        ),
        (
            "sync_all_columns",
            (ADDED,),
            "1 column in the model is not in the table (discount); on_schema_change follows the "
            "model with the next build, and leaves new columns of old rows empty",
        ),
    ],
)
def test_the_sentence_says_what_the_next_build_does(
    on_schema_change: str, columns: tuple[ColumnChange, ...], text: str
) -> None:
    assert changed(on_schema_change, *columns) == text + COMMAND


def test_a_model_whose_configuration_forbids_a_refresh_is_not_offered_one() -> None:
    assert changed("ignore", ADDED, refreshable=False) == (
        "1 column in the model is not in the table (discount); on_schema_change ignores it. "
        "`full_refresh: false` in its configuration forbids a refresh."
    )
