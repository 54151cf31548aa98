"""What must hold of new rows before they take the place of the present ones: number and key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2
import pytest

from mage_dbt.base.redaction import STARS
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.model.refresh import Check, CheckName, RefreshOptions
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.refresh import Part
from mage_dbt.warehouse.refresh.postgres import checks
from mage_dbt.warehouse.session import Session
from tests.harness.database import Database

LIVE, NEW = "shop", "mage_dbt_new_1"

NUMBERS = "select n as id from generate_series(1, {}) as n"


@pytest.fixture
def session(server: Database, postgres: Postgres) -> Iterator[Session]:
    """Of the role that owns the warehouse, with an empty schema aside."""
    with closing(psycopg2.connect(server.url("dbt"))) as connection:
        session = Session(connection)
        session.execute(f"drop schema if exists {NEW} cascade")
        session.execute(f"create schema {NEW}")
        yield session


def a_part(*key: str, name: str = "orders") -> Part:
    return Part("model.shop.orders", "orders", Name("", LIVE, name), Name("", NEW, name), key=key)


@pytest.fixture
def rows(session: Session) -> Callable[..., Check]:
    """Checks the number of new rows."""

    def rows(before: int, after: int, options: RefreshOptions | None = None) -> Check:
        session.execute(f"drop table if exists {NEW}.orders")
        session.execute(f"create table {NEW}.orders as {NUMBERS.format(after)}")
        return checks.rows(session, a_part(), before, options or RefreshOptions())

    return rows


@pytest.fixture
def key(session: Session) -> Callable[..., Check]:
    """Checks a key of a query's rows."""

    def key(query: str, *parts: str, options: RefreshOptions | None = None) -> Check:
        session.execute(f"drop table if exists {NEW}.orders")
        session.execute(f"create table {NEW}.orders as {query}")
        return checks.key(session, a_part(*parts), options or RefreshOptions())

    return key


@pytest.mark.parametrize(
    ("before", "after", "passed", "text"),
    [
        (8000, 7997, True, "7,997 rows instead of 8,000 (100 %)."),
        (100, 95, True, "95 rows instead of 100 (95 %)."),
        (100, 200, True, "200 rows instead of 100 (200 %)."),
        (0, 12, True, "12 rows; there were none before."),
        (0, 0, True, "0 rows; there were none before."),
        (
            8000,
            4800,
            False,
            "40 % of the rows would be gone: 4,800 instead of 8,000; allowed are 95 to 200 %.",
        ),
        (
            100,
            94,
            False,
            "6 % of the rows would be gone: 94 instead of 100; allowed are 95 to 200 %.",
        ),
        (8, 0, False, "All rows would be gone: 0 instead of 8; allowed are 95 to 200 %."),
        (
            100,
            251,
            False,
            "There would be 2.5 times as many rows: 251 instead of 100; allowed are 95 to 200 %.",
        ),
    ],
)
def test_the_number_of_rows_is_within_the_allowed_band(
    rows: Callable[..., Check], before: int, after: int, passed: bool, text: str
) -> None:
    found = rows(before, after)
    assert found == Check(CheckName.ROWS, passed, text, "model.shop.orders")
    assert found.stops is not passed


def test_a_band_to_the_last_row(rows: Callable[..., Check]) -> None:
    exactly = RefreshOptions(rows_percent=(100, 100))
    assert rows(3000, 3000, exactly).passed
    fewer = rows(3000, 2999, exactly)
    assert fewer.text.startswith("Less than 1 % of the rows would be gone: 2,999 instead of 3,000")
    more = rows(3000, 3001, exactly)
    assert more.text.startswith("There would be 1 row more: 3,001 instead of 3,000")


def test_an_override_by_name_lets_it_go_on_and_is_recorded(rows: Callable[..., Check]) -> None:
    options = RefreshOptions(override=("rows",))
    assert (rows(100, 10, options).overridden, rows(100, 10, options).stops) == (True, False)
    assert not rows(100, 100, options).overridden
    other = rows(100, 10, RefreshOptions(override=("key",)))
    assert (other.overridden, other.stops) == (False, True)


def test_without_a_key_there_is_nothing_to_check(key: Callable[..., Check]) -> None:
    found = key("select 1 as id")
    assert (found.passed, found.name) == (True, CheckName.KEY)
    assert found.text == "The model has no unique_key, so there is nothing to check."


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("id",), "id is unique and not null in 4 rows."),
        (("ID",), "ID is unique and not null in 4 rows."),
        (('"Line %"', "day"), '"Line %" and day are together unique and not null in 4 rows.'),
        (("Line %", "day"), "Line % and day are together unique and not null in 4 rows."),
        (
            ("id || '-' || day -- both",),
            "id || '-' || day -- both is unique and not null in 4 rows.",
        ),
        (("id, day",), "id, day is unique and not null in 4 rows."),
        (("document",), "document is unique and not null in 4 rows."),
    ],
)
def test_a_key_is_columns_or_an_expression(
    key: Callable[..., Check], parts: tuple[str, ...], text: str
) -> None:
    query = """
        select n as id, n % 2 as "Line %", n / 3 + n * 2 as day,
            json_build_object('n', n) as document
        from generate_series(1, 4) as n
    """
    assert key(query, *parts).text == text


def test_a_key_that_is_none_says_which_values_and_how_many_rows(key: Callable[..., Check]) -> None:
    query = """
        select n / 3 as id, 1 as line from generate_series(3, 20) as n where n <> 5
        union all select null, 1 union all select null, null
    """
    found = key(query, "id")
    assert not found.passed and found.stops
    assert found.text == (
        "id is no key: 2 rows have none and 6 values appear more than once, such as 2 (3 times), "
        "3 (3 times), 4 (3 times)."
    )
    both = key(query, "id", "line")
    assert both.text == (
        "id and line are no key: 2 rows have none and 6 values appear more than once, such as "
        "(2, 1) (3 times), (3, 1) (3 times), (4, 1) (3 times)."
    )
    only_null = key("select null::text as id union all select 'a'", "id")
    assert only_null.text == "id is no key: 1 row has none."
    assert key(query, "id", options=RefreshOptions(override=("key",))).overridden


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("no_such", 'column "no_such" does not exist'),
        ("1 / (id - 1)", "division by zero"),
        ("id +", "syntax error at or near"),
    ],
)
def test_a_key_that_the_server_cannot_compute_does_not_pass(
    key: Callable[..., Check], part: str, reason: str
) -> None:
    found = key(NUMBERS.format(3), part)
    assert not found.passed
    assert found.text.startswith(f"Whether {part} is a key cannot be checked: {reason}")


def test_examples_of_a_secret_key_are_hidden_and_long_ones_cut_off(
    key: Callable[..., Check],
) -> None:
    twice = "from generate_series(1, 2)"
    assert f"{STARS} (2 times)" in key(f"select 'sesame' as api_token {twice}", "api_token").text
    assert f"{STARS} (2 times)" in key(f"select 'sesame' as pwd {twice}", "upper(pwd)").text
    long = key(f"select repeat('x', 5000) as id {twice}", "id").text
    assert "x" * 199 + "… (2 times)" in long and len(long) < 300


def test_a_view_is_checked_as_a_table_is(session: Session) -> None:
    session.execute(f"create view {NEW}.orders as {NUMBERS.format(5)}")
    assert checks.rows(session, a_part(), 5, RefreshOptions()).passed
    assert checks.key(session, a_part("id"), RefreshOptions()).passed
