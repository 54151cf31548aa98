"""When a failed model is told that a full refresh repairs it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mage_dbt.dbt.results.failures import ServerError, remedy_of

INCREMENTAL = SimpleNamespace(
    name="fct_orders",
    alias="fct_orders",
    resource_type="model",
    config=SimpleNamespace(materialized="incremental", full_refresh=None),
)


@pytest.mark.parametrize(
    ("sqlstate", "message", "helps"),
    [
        ("42703", 'column "discount" of relation "fct_orders" does not exist', True),
        ("42703", "Spalte »discount« von Relation »fct_orders« existiert nicht", True),
        ("42703", "la colonne « discount » de la relation « fct_orders » n'existe pas", True),
        ("42703", 'column "discount" of relation "audit" does not exist', False),
        ("42703", 'column "loaded_at" does not exist', True),
        ("42703", '오류: "loaded_at" 칼럼은 없습니다', True),
        ("42703", "column orders.discount_code does not exist", False),
        ("42703", "Spalte orders.discount_code existiert nicht", False),
        ("42804", 'column "id" is of type integer but expression is of type text', True),
        ("42804", "UNION types text and integer cannot be matched", False),
        ("42803", 'column "o.id" must appear in the GROUP BY clause', False),
        (
            "23502",
            'null value in column "id" of relation "fct_orders" violates a constraint',
            False,
        ),
        ("22012", "division by zero", False),
    ],
)
def test_a_full_refresh_repairs_what_the_table_lacks(
    sqlstate: str, message: str, helps: bool
) -> None:
    error = ServerError(sqlstate, message)
    found = remedy_of(INCREMENTAL, "error", f"Database Error\n  {message}", error)
    assert ("a full refresh repairs" in found) is helps


def test_without_a_sqlstate_the_words_tell() -> None:
    for error in (None, ServerError("", "")):
        words = "Binder Error: table fct_orders has no column discount"
        assert "a full refresh repairs" in remedy_of(INCREMENTAL, "error", words, error)
        assert remedy_of(INCREMENTAL, "error", "out of memory", error) == ""
