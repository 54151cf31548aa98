"""A reason begins with the database's own words, whole; dbt's lines come after them."""

from __future__ import annotations

import pytest

from mage_dbt.model.reason import first_line, words_first

WORDS = """column recent.amout does not exist
LINE 14:     recent.amout
             ^
HINT:  Perhaps you meant to reference the column "recent.amount"."""

HEADING = "Database Error in model amounts (models/amounts.sql)"
CODE = "compiled code at target/run/failures/models/amounts.sql"


def by_dbt(heading: str, *lines: str) -> str:
    """As dbt writes it: one line of its own, and all others moved in."""
    return "\n".join([heading, *(f"  {line}" for line in lines)])


def test_the_databases_words_come_first_with_their_line_breaks_and_all_of_it_is_there() -> None:
    message = by_dbt(HEADING, *WORDS.split("\n"), CODE)
    assert words_first(message) == f"{WORDS}\n\n{HEADING}\n{CODE}"
    assert first_line(message) == "column recent.amout does not exist"


def test_the_macros_that_led_there_stay_behind_the_words() -> None:
    stack = "> in macro cents (macros/cents.sql)", "> called by model amounts (models/amounts.sql)"
    heading = "Compilation Error in model amounts (models/amounts.sql)"
    told = words_first(by_dbt(heading, "'amout' is undefined", "", *stack))
    assert told.split("\n") == ["'amout' is undefined", "", heading, *stack]


def test_a_hooks_error_begins_with_the_databases_words_too() -> None:
    told = words_first(
        'shop.on-run-start.0 failed, error:\n relation "x" does not exist\nLINE 1: x'
    )
    assert told == 'relation "x" does not exist\nLINE 1: x\n\nshop.on-run-start.0 failed'


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Got 2 results, configured to fail if != 0",
        HEADING,
        "Compilation Error in model.shop.a, caused by compilation error in referenced ephemeral b",
        "division by zero\nLINE 1: select 1 / 0\n\nDatabase Error in model a (models/a.sql)",
    ],
)
def test_what_is_not_in_dbts_form_or_in_order_already_stays_as_it_is(message: str) -> None:
    assert words_first(message) == message
    assert words_first(words_first(message)) == message


def test_no_line_is_ever_lost() -> None:
    message = by_dbt(HEADING, "a", "", "compiled code at the customer", "", "b", CODE, "", "> in x")
    assert sorted(filter(None, (one.strip() for one in words_first(message).split("\n")))) == (
        sorted(filter(None, (one.strip() for one in message.split("\n"))))
    )
