"""The present rows are compared with the new ones: by key where there is one, in bounded time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from mage_dbt.base import redaction
from mage_dbt.base.redaction import STARS
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.model.refresh import ColumnComparison, Comparison, RefreshOptions
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.refresh import Part
from mage_dbt.warehouse.refresh.postgres import budget, checks
from mage_dbt.warehouse.refresh.postgres.comparison import compare
from mage_dbt.warehouse.session import Session
from tests.harness.database import Database
from tests.harness.waiting import SECONDS, wait_until

LIVE, NEW = "shop", "mage_dbt_new_1"


@pytest.fixture
def connection(server: Database, postgres: Postgres) -> Iterator[Any]:
    """Of the role that owns the warehouse, with the two schemas, which hold nothing."""
    with closing(psycopg2.connect(server.url("dbt"))) as found:
        session = Session(found)
        for schema in (LIVE, NEW):
            session.execute(f"drop schema if exists {schema} cascade")
            session.execute(f"create schema {schema}")
        yield found


@pytest.fixture
def session(connection: Any) -> Session:
    return Session(connection)


def a_part(*key: str, name: str = "orders") -> Part:
    return Part(f"model.shop.{name}", name, Name("", LIVE, name), Name("", NEW, name), key=key)


@pytest.fixture
def compared(session: Session) -> Callable[..., Comparison]:
    """Compares the rows of two queries, as tables of these names."""

    def compared(
        before: str, after: str, *key: str, name: str = "orders", seconds: float = SECONDS
    ) -> Comparison:
        for schema, query in ((LIVE, before), (NEW, after)):
            relation = Name("", schema, name)
            session.execute(f"drop table if exists {relation}")
            session.execute(f"create table {relation} as {query}")
        return compare(session, a_part(*key, name=name), seconds)

    return compared


def column(found: Comparison, name: str) -> ColumnComparison:
    return next(each for each in found.columns if each.name == name)


ROWS = "select n as id, n * 10 as amount, 'open' as state from generate_series(1, {}) as n"


def test_rows_are_added_removed_and_changed_by_key(compared: Callable[..., Comparison]) -> None:
    changed = """
        select n as id, case when n in (2, 10) then 0 else n * 10 end as amount, 'open' as state
        from generate_series(2, 12) as n
    """
    found = compared(ROWS.format(10), changed, "id")
    assert (found.rows_before, found.rows_after, found.sampled, found.unknown) == (10, 11, "", "")
    assert (found.only_before, found.only_after, found.changed) == (1, 2, 2)
    assert found.only_before_rows == ({"id": "1", "amount": "10", "state": "open"},)
    assert [row["id"] for row in found.only_after_rows] == ["11", "12"]
    (amount,) = found.columns
    assert (amount.name, amount.changed_rows) == ("amount", 2)
    assert amount.examples == (("2", "20", "0"), ("10", "100", "0"))
    assert (found.key, found.equal_columns) == (("id",), 2)
    assert Comparison(found.node, found.name, seconds=found.seconds).seconds > 0


def test_equal_rows_differ_in_nothing(compared: Callable[..., Comparison]) -> None:
    found = compared(ROWS.format(9), ROWS.format(9) + " order by n desc", "id")
    assert (found.only_before, found.only_after, found.changed, found.columns) == (0, 0, 0, ())
    assert found.equal_columns == 3


def test_of_many_differences_ten_are_examples(compared: Callable[..., Comparison]) -> None:
    after = "select n as id, 0 as amount, 'shut' as state from generate_series(2001, 9000) as n"
    found = compared(ROWS.format(5000), after, "id")
    assert (found.only_before, found.only_after, found.changed) == (2000, 4000, 3000)
    assert len(found.only_before_rows) == len(found.only_after_rows) == 10
    assert {each.name: each.changed_rows for each in found.columns} == {
        "amount": 3000,
        "state": 3000,
    }
    for each in found.columns:
        assert len(each.examples) == 10
    for key, *values in column(found, "amount").examples:
        assert values == [str(int(key) * 10), "0"]


def test_columns_are_added_with_common_values_removed_and_changed_in_type(
    compared: Callable[..., Comparison],
) -> None:
    before = "select n as id, n as old, n as amount from generate_series(1, 10) as n"
    after = """
        select n as id, n::numeric(12,2) as amount, n::text as words,
            case when n < 9 then n <= 2 end as has_discount
        from generate_series(1, 10) as n
    """
    found = compared(before, f"select a.*, a.id::text as spare from ({after}) as a", "id")
    assert [each.name for each in found.columns] == [
        *("amount", "words", "has_discount", "spare", "old")
    ]
    amount = column(found, "amount")
    assert (amount.before, amount.after, amount.changed_rows) == ("integer", "numeric(12,2)", 0)
    discount = column(found, "has_discount")
    assert (discount.before, discount.after) == ("", "boolean")
    assert (discount.changed_rows, discount.nulls_before, discount.nulls_after) == (None, None, 2)
    assert (discount.distinct_before, discount.distinct_after) == (None, 2)
    assert set(discount.examples) == {("60 %", None, "false"), ("20 %", None, "true")}
    assert (column(found, "old").before, column(found, "old").after) == ("integer", "")
    assert found.equal_columns == 1


def test_a_changed_type_is_compared_as_text(compared: Callable[..., Comparison]) -> None:
    before = "select 1 as id, 7 as code, date '2026-01-01' as at, 0.5::float4 as share"
    after = "select 1::bigint as id, '07' as code, '2026-01-01' as at, 0.5::numeric(9,4) as share"
    found = compared(before, after, "id")
    assert column(found, "code").examples == (("1", "7", "07"),)
    assert column(found, "at").changed_rows == 0
    assert (found.only_before, found.only_after, found.changed) == (0, 0, 1)


def test_nulls_are_exact_and_distinct_values_estimated(
    session: Session, compared: Callable[..., Comparison]
) -> None:
    before = "select n as id, nullif(n % 5, 0) as part from generate_series(1, 100) as n"
    after = "select n as id, nullif(n % 4, 0) as part from generate_series(1, 100) as n"
    found = column(compared(before, after, "id"), "part")
    assert (found.nulls_before, found.nulls_after) == (20, 25)
    assert (found.distinct_before, found.distinct_after) == (None, 3)
    session.execute(f"analyze {LIVE}.orders")
    again = column(compare(session, a_part("id"), SECONDS), "part")
    assert (again.distinct_before, again.distinct_after) == (4, 3)


AWKWARD = {
    "json": ("""'{"a": 1}'::json""", """'{"a": 2}'::json"""),
    "point": ("point(1, 2)", "point(1, 3)"),
    "box": ("box(point(0, 0), point(2, 2))", "box(point(0, 0), point(4, 1))"),
    "numbers": ("array[1, null, 3]", "array[1, 2, 3]"),
    "texts": ("array['a', 'b']", "array['a', 'c']"),
    "composite": ("row(1, 'a')::shop.pair", "row(1, null)::shop.pair"),
    "enum": ("'on'::shop.switch", "'off'::shop.switch"),
    "domain": ("1::shop.small", "2::shop.small"),
    "money": ("1.5::money", "2.5::money"),
    "bytes": (r"'\x00ff'::bytea", r"'\x00fe'::bytea"),
    "span": ("interval '1 month'", "interval '30 days'"),
    "hours": ("interval '24 hours'", "interval '1 day'"),
    "range": ("int4range(1, 3)", "int4range(1, 4)"),
    "document": ("""'{"a": 1}'::jsonb""", """'{"a": null}'::jsonb"""),
    "words": ("to_tsvector('simple', 'a b')", "to_tsvector('simple', 'a c')"),
    "bits": ("B'101'", "B'100'"),
    "code": ("'a'::char(3)", "'b'::char(3)"),
    "network": ("inet '10.0.0.1/8'", "inet '10.0.0.1/9'"),
    "vector": ("'1 2'::int2vector", "'1 3'::int2vector"),
    "null": ("null::int", "1"),
    "nan": ("'NaN'::float8", "1.0::float8"),
}


@pytest.fixture
def types(session: Session) -> None:
    session.execute(f"create type {LIVE}.pair as (n int, word text)")
    session.execute(f"create type {LIVE}.switch as enum ('on', 'off')")
    session.execute(f"create domain {LIVE}.small as int check (value < 100)")


def awkward(side: int) -> str:
    """The third row is null in every column; the second one is the same on both sides.

    Not every server can read XML; all have its type.
    """
    names = ", ".join(quoted(name) for name in AWKWARD)
    first = ", ".join(values[side] for values in AWKWARD.values())
    second = ", ".join(values[0] for values in AWKWARD.values())
    rows = f"select 1, {first} union all select 2, {second}"
    nulls = f"select 3 as id{', null' * len(AWKWARD)}"
    return f"select *, null::xml as xml from ({rows} union all {nulls}) as r (id, {names})"


@pytest.mark.usefixtures("types")
@pytest.mark.parametrize("key", [["id"], []], ids=["key", "no key"])
def test_values_of_every_type_are_compared(
    compared: Callable[..., Comparison], key: list[str]
) -> None:
    same = compared(awkward(0), awkward(0), *key)
    assert (same.unknown, same.only_before, same.only_after) == ("", 0, 0)
    assert not same.changed and same.columns == () and same.equal_columns == 2 + len(AWKWARD)
    found = compared(awkward(0), awkward(1), *key)
    assert found.unknown == ""
    if key:
        assert {each.name: each.changed_rows for each in found.columns} == dict.fromkeys(AWKWARD, 1)
        assert found.changed == 1
        assert column(found, "bytes").examples == (("1", "\\x00ff", "\\x00fe"),)
        assert column(found, "nan").examples == (("1", "NaN", "1"),)
        assert column(found, "null").examples == (("1", None, "1"),)
    else:
        assert (found.only_before, found.only_after, found.changed) == (1, 1, None)
        assert found.only_before_rows[0]["composite"] == "(1,a)"


def test_a_value_that_only_its_type_takes_for_another_is_no_difference(
    compared: Callable[..., Comparison],
) -> None:
    before = "select 1.0::numeric as id, 2.50::numeric as price, '-0'::float8 as zero"
    after = "select 1.00::numeric as id, 2.5::numeric as price, '0'::float8 as zero"
    found = compared(before, after, "id")
    assert (found.only_before, found.only_after, found.changed, found.columns) == (0, 0, 0, ())
    whole = compared(before.replace("'-0'", "'0'"), after)
    assert (whole.only_before, whole.only_after) == (0, 0)


NAMES = ('Mixed "Case"', "100 %", "%s", "단가", "select", "x" * 63, "a'b", "back\\slash", "{brace}")


@pytest.mark.parametrize("name", ['Order "items" 100 %', "주문", "y" * 63])
@pytest.mark.parametrize("with_key", [True, False])
def test_names_are_any(compared: Callable[..., Comparison], name: str, with_key: bool) -> None:
    def query(value: int) -> str:
        columns = ", ".join(f"{value} as {quoted(each)}" for each in NAMES)
        return f'select 7 as "Order %", {columns}'

    key = ["Order %"] if with_key else []
    found = compared(query(1), query(2), *key, name=name)
    assert found.unknown == "" and not found.notes
    if with_key:
        assert {each.name: each.examples for each in found.columns} == {
            each: (("7", "1", "2"),) for each in NAMES
        }
    else:
        assert found.only_after_rows == ({"Order %": "7"} | dict.fromkeys(NAMES, "2"),)


def test_several_columns_are_a_key(compared: Callable[..., Comparison]) -> None:
    query = """
        select o as order_id, l as line, case when o = 3 and l = 2 then {} else 1 end as amount
        from generate_series(1, 3) as o, generate_series(1, 3) as l where o <> {} or l <> 1
    """
    found = compared(query.format(1, 1), query.format(5, 2), "order_id", "line")
    assert (found.only_before, found.only_after, found.changed) == (1, 1, 1)
    assert found.columns[0].examples == (("3, 2", "1", "5"),)
    assert found.key == ("order_id", "line") and found.equal_columns == 2


@pytest.mark.parametrize(
    "key", ["order_id || '-' || line -- both", "(order_id, line)", "order_id, line", "ORDER_ID * 9"]
)
def test_an_expression_is_a_key(compared: Callable[..., Comparison], key: str) -> None:
    query = "select n as order_id, 1 as line, n + {} as amount from generate_series(1, 3) as n"
    found = compared(query.format(0), query.format(1), key)
    assert found.notes == () and found.key == (key,)
    assert (found.only_before, found.only_after, found.changed) == (0, 0, 3)


def test_a_key_of_another_type_still_pairs(compared: Callable[..., Comparison]) -> None:
    after = "select n::text as id, n * 10 as amount, 'open' as state from generate_series(2, 4) n"
    found = compared(ROWS.format(3), after, "id")
    assert (found.only_before, found.only_after, found.changed) == (1, 1, 0)
    assert column(found, "id").changed_rows == 0


@pytest.mark.parametrize(
    ("before", "after", "key", "note"),
    [
        (
            "select * from (values (1, 'a'), (1, 'a'), (2, 'b')) as r (id, word)",
            "select * from (values (1, 'a'), (2, 'c')) as r (id, word)",
            "id",
            "id is not unique in the present rows (1), so whole rows were compared.",
        ),
        (
            "select * from (values (1, 'a'), (2, 'b'), (3, 'c')) as r (id, word)",
            "select * from (values (1, 'a'), (null, 'b')) as r (id, word)",
            "id",
            "id is null in 1 of the new rows, so whole rows were compared.",
        ),
        (
            "select * from (values (1, 'a'), (2, 'b'), (3, 'c')) as r (n, word)",
            "select * from (values (1, 'a', 1), (2, 'd', 1)) as r (n, word, id)",
            "id",
            'id is no key of the present rows (column "id" does not exist), so whole rows were '
            "compared.",
        ),
        (
            "select * from (values (1, 'a'), (2, 'b'), (3, 'c')) as r (n, word)",
            "select * from (values (1, 'a'), (0, 'b')) as r (n, word)",
            "1 / n",
            "1 / n is no key of the new rows (division by zero), so whole rows were compared.",
        ),
    ],
    ids=["repeated", "null", "missing", "failing"],
)
def test_without_a_usable_key_whole_rows_are_compared(
    compared: Callable[..., Comparison], before: str, after: str, key: str, note: str
) -> None:
    found = compared(before, after, key)
    assert (found.notes, found.key, found.unknown) == ((note,), (), "")
    assert (found.only_before, found.only_after, found.changed) == (2, 1, None)
    assert found.equal_columns == 0


def test_whole_rows_count_as_often_as_they_are_there(
    compared: Callable[..., Comparison],
) -> None:
    before = "select * from (values ('a', null), ('a', null), ('a', null), ('b', '')) as r (x, y)"
    after = "select * from (values ('a', null), ('b', ''), ('b', ''), ('b', null)) as r (x, y)"
    found = compared(before, after)
    assert (found.only_before, found.only_after, found.changed) == (2, 2, None)
    assert found.only_before_rows == ({"x": "a", "y": None},)
    assert sorted(str(row["y"]) for row in found.only_after_rows) == ["", "None"]
    assert [(each.name, each.nulls_before, each.nulls_after) for each in found.columns] == [
        ("y", 3, 2)
    ]


def test_columns_that_have_nothing_in_common_are_listed(
    compared: Callable[..., Comparison],
) -> None:
    found = compared("select 1 as a", "select 2 as b", "a")
    assert found.unknown == "they have no column in common"
    assert [each.name for each in found.columns] == ["b", "a"]
    assert (found.rows_before, found.rows_after, found.only_before) == (1, 1, None)


def test_three_hundred_columns_are_compared(compared: Callable[..., Comparison]) -> None:
    def query(added: int) -> str:
        columns = ", ".join(f"n % 7 + {added * (at % 2)} as c{at}" for at in range(300))
        return f"select n as id, {columns} from generate_series(1, 500) as n"

    found = compared(query(0), query(1), "id")
    assert (found.changed, len(found.columns), found.equal_columns) == (500, 150, 151)
    assert all(each.changed_rows == 500 and len(each.examples) == 10 for each in found.columns)
    assert compared(query(0), query(1)).only_after == 500


def test_long_values_are_cut_off(compared: Callable[..., Comparison]) -> None:
    query = "select 1 as id, repeat('{}', 3000000) as long, decode(repeat('{}', 90000), 'hex') as b"
    found = compared(query.format("ab", "00"), query.format("ac", "ff"), "id")
    for each in found.columns:
        [(_, before, after)] = each.examples
        assert before and after and len(before) == len(after) == 200 and before.endswith("…")


def test_secrets_are_not_shown(compared: Callable[..., Comparison]) -> None:
    redaction.hide("hunter2-hunter2")
    query = """
        select 'k{0}' as "API key", 's{0}' as user_password, null::text as token,
            'with hunter2-hunter2 {0}' as note
        union all select 'same', '{0}', 't{0}', ''
    """
    found = compared(query.format(1), query.format(2), "API key")
    assert found.only_after_rows == (
        {
            "API key": STARS,
            "user_password": STARS,
            "token": None,
            "note": f"with {STARS} 2",
        },
    )
    assert column(found, "user_password").examples == ((STARS, STARS, STARS),)
    assert column(found, "token").changed_rows == 1
    repeated = "select 'sesame' as token from generate_series(1, 2)"
    (note,) = compared(repeated, repeated, "token").notes
    assert note.startswith(f"token is not unique in the present rows ({STARS})")
    added = compared("select 1 as id", "select 1 as id, 'sesame' as pwd from generate_series(1, 9)")
    assert column(added, "pwd").examples == (("100 %", None, STARS),)


def test_columns_that_the_project_hides_show_stars_in_rows_examples_and_keys(
    session: Session,
) -> None:
    part = replace(a_part("lower(mail)"), hides={"mail", "town"}.__contains__)
    rows = (
        "select 'Ana{0}@x' as mail, '{0}' as town, {0} as amount union all select 'b@x', 'B', {0}"
    )
    for schema, number in ((LIVE, 1), (NEW, 2)):
        session.execute(f"create table {schema}.orders as {rows.format(number)}")
    found = compare(session, part, SECONDS)
    assert found.only_before_rows == ({"mail": STARS, "town": STARS, "amount": "1"},)
    assert found.only_after_rows == ({"mail": STARS, "town": STARS, "amount": "2"},)
    assert column(found, "amount").examples == ((STARS, "1", "2"),)
    session.execute(f"insert into {NEW}.orders select * from {NEW}.orders")
    assert f"such as {STARS} (2 times)" in checks.key(session, part, RefreshOptions()).text
    whole = compare(session, replace(part, key=()), SECONDS)
    assert {row["mail"] for row in whole.only_after_rows} == {STARS}


def test_a_view_is_compared_as_a_table_is(session: Session) -> None:
    session.execute(f"create view {LIVE}.orders as {ROWS.format(3)}")
    session.execute(f"create view {NEW}.orders as {ROWS.format(4)}")
    found = compare(session, a_part("id"), SECONDS)
    assert (found.unknown, found.only_before, found.only_after) == ("", 0, 1)
    session.execute(f"drop view {LIVE}.orders")
    session.execute(f"create materialized view {LIVE}.orders as {ROWS.format(5)}")
    assert compare(session, a_part("id"), SECONDS).only_before == 1


def test_what_is_not_there_is_not_compared(session: Session) -> None:
    missing = compare(session, a_part("id"), SECONDS)
    assert missing.unknown == "there is no new relation"
    session.execute(f"create table {NEW}.orders as {ROWS.format(4)}")
    new = compare(session, a_part("id"), SECONDS)
    assert new.unknown == "the relation is new"
    assert new.rows_after == 4
    off = compare(session, a_part("id"), 0)
    assert off.unknown == "REFRESH_COMPARE_SECONDS is 0"


def test_empty_relations_are_equal(compared: Callable[..., Comparison]) -> None:
    found = compared(ROWS.format(0), ROWS.format(0), "id")
    assert (found.only_before, found.only_after, found.changed, found.unknown) == (0, 0, 0, "")
    assert compared(ROWS.format(0), ROWS.format(0)).only_before == 0


@pytest.mark.parametrize("key", [["id"], ["id", "state"], []], ids=["key", "two columns", "no key"])
def test_a_sample_holds_the_same_rows_of_both_sides(
    compared: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch, key: list[str]
) -> None:
    monkeypatch.setattr(budget, "FIRST_SAMPLE", 500)
    monkeypatch.setattr(budget, "SHARE", 0)
    after = "select n as id, n * 10 as amount, 'open' as state from generate_series(1001, 9000) n"
    found = compared(ROWS.format(8000), after, *key)
    what = "key" if key else "row"
    assert found.sampled == f"1 in 16 {what}s, by a hash of the {what}"
    assert found.only_before and found.only_after and not found.changed
    assert 30 < found.only_before < 110 and 30 < found.only_after < 110
    assert (found.rows_before, found.rows_after) == (8000, 8000)


def test_with_time_enough_all_rows_are_compared(
    compared: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "FIRST_SAMPLE", 100)
    found = compared(ROWS.format(8000), ROWS.format(8001), "id")
    assert (found.sampled, found.only_after) == ("", 1)


def test_a_larger_sample_that_does_not_end_in_time_leaves_the_last_one(
    session: Session, compared: Callable[..., Comparison]
) -> None:
    took = iter((0.0, None))

    def sample(bits: int) -> int:
        if next(took) is None:
            spent.bounded(lambda: session.execute("select pg_sleep(60)"), 0.01)
        return bits

    spent = budget.Budget(session, SECONDS)
    with session.transaction():
        assert spent.largest(sample, 64 * budget.FIRST_SAMPLE) == (6, 6)
        assert session.rows("select 1 as one") == [{"one": 1}]


SLOW = """
select n as id, n as amount
from generate_series(1, 200) as n cross join lateral pg_sleep(60 + 0 * n)
"""


def test_what_takes_too_long_says_so_and_ends(session: Session) -> None:
    session.execute(f"create table {LIVE}.orders as {ROWS.format(3)}")
    session.execute(f"create view {NEW}.orders as {SLOW}")
    found = compare(session, a_part("id"), 1.5)
    assert found.unknown.startswith("1.5 s are too few")
    assert found.only_before is None


def test_nothing_stays_open_and_no_setting_is_changed(
    connection: Any, session: Session, compared: Callable[..., Comparison]
) -> None:
    names = (
        "statement_timeout",
        "jit",
        "work_mem",
        "transaction_isolation",
        "transaction_read_only",
    )
    shown = ", ".join(f"current_setting('{name}') as {name}" for name in names)
    before = session.rows(f"select {shown}")
    compared(ROWS.format(3), ROWS.format(3), "id")
    compared(ROWS.format(3), ROWS.format(3), "no_such")
    assert session.rows(f"select {shown}") == before
    status = connection.info.transaction_status
    assert status == psycopg2.extensions.TRANSACTION_STATUS_IDLE


def test_a_cancelled_comparison_is_no_comparison_that_took_too_long(
    server: Database, connection: Any, session: Session
) -> None:
    session.execute(f"create table {LIVE}.orders as {ROWS.format(3)}")
    session.execute(f"create view {NEW}.orders as {SLOW}")
    pid = connection.info.backend_pid

    def cancel() -> None:
        sleeps = f"select 1 from pg_stat_activity where pid = {pid} and wait_event = 'PgSleep'"
        wait_until("it to run", lambda: bool(server.rows("dbt", sleeps)) or "not yet")
        server.rows("dbt", f"select pg_cancel_backend({pid})")

    beside = threading.Thread(target=cancel)
    beside.start()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        compare(session, a_part("id"), SECONDS)
    beside.join()
    assert session.rows("select 1 as one") == [{"one": 1}]
