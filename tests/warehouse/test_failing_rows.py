"""Rows of a query, whatever their types: read only, for a short time, without hidden values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import psycopg2
import pytest

from mage_dbt.launcher.postgres import Postgres
from mage_dbt.warehouse.failing_rows import (
    HIDDEN,
    LONGEST_READ,
    MOST_DIGESTS,
    FoundRows,
    OutOfTime,
    RowReader,
    unreadable,
)
from mage_dbt.warehouse.session import Session
from tests.harness.database import Database


@pytest.fixture
def session(server: Database, postgres: Postgres) -> Iterator[Session]:
    with closing(psycopg2.connect(server.url("dbt"))) as connection:
        yield Session(connection)


def read(
    session: Session, query: str, *hidden: str, shown: int = 10, salt: str = "test"
) -> FoundRows:
    def hides(columns: Sequence[str]) -> Sequence[str]:
        return [name for name in columns if name in hidden]

    return RowReader(session, "", 20, 5).read(query, salt, shown, hides)


def test_every_type_is_text_and_null_is_none(session: Session) -> None:
    found = read(
        session,
        "select 1.50 as n, null as none, '' as empty, true as yes, '2026-11-30'::date as day,"
        " 'infinity'::timestamptz as ever, 'NaN'::float as nan, '{1,2}'::int[] as list,"
        """ '{"a": [1, "x"]}'::jsonb as j, '\\x00ff'::bytea as b, 1 as same, 2 as same"""
        ", '100%' as \"per%cent {0}\" -- the end",
    )
    (row,) = found.rows
    assert row == (
        *("1.50", None, "", "true", "2026-11-30", "infinity", "NaN", "[1,2]"),
        *('{"a": [1, "x"]}', "\\x00ff", "1", "2", "100%"),
    )
    assert found.columns[-3:] == ("same", "same", "per%cent {0}")


def test_few_rows_are_read_and_the_digests_of_many(session: Session) -> None:
    found = read(session, "select n, repeat('x', 9000) as long from generate_series(1, 1500) as n")
    assert [row[0] for row in found.rows] == [str(n) for n in range(1, 11)]
    assert len(found.rows[0][1] or "") == LONGEST_READ
    assert len(set(found.digests)) == MOST_DIGESTS


def test_a_digest_depends_on_the_values_alone_and_not_on_hidden_ones(session: Session) -> None:
    rows = read(session, "select 1 as a, 'x' as b, 'secret' as c", "c")
    assert rows.rows == (("1", "x", HIDDEN),) and rows.hidden == ("c",)
    assert read(session, "select 'other' as c, 'x' as b, 1 as a", "c").digests == rows.digests
    assert read(session, "select 1 as a, 'y' as b", "c").digests != rows.digests
    assert read(session, "select 1 as a, 'x' as b", salt="another").digests != rows.digests


def test_nothing_can_be_written_and_the_session_goes_on(session: Session) -> None:
    session.execute("create table if not exists public.noted (n int)")
    session.execute(
        "create or replace function public.note() returns int language sql as"
        " 'insert into public.noted values (1) returning n'"
    )
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction) as raised:
        read(session, "select public.note()")
    assert not unreadable(raised.value)
    assert session.rows("select count(*) as rows from public.noted") == [{"rows": 0}]
    assert read(session, "select 1").rows == (("1",),)


def test_a_query_has_its_time_and_all_have_theirs(session: Session) -> None:
    reader = RowReader(session, "", 2.0, 1.5)
    with pytest.raises(psycopg2.errors.QueryCanceled) as raised:
        reader.read("select pg_sleep(600)", "", 10, lambda _: ())
    assert not unreadable(raised.value)
    with pytest.raises((psycopg2.errors.QueryCanceled, OutOfTime)):
        reader.read("select pg_sleep(600)", "", 10, lambda _: ())
    with pytest.raises(OutOfTime):
        reader.read("select 1", "", 10, lambda _: ())


def test_it_reads_as_the_role_and_only_as_long(session: Session) -> None:
    found = RowReader(session, "dbt", 5, 5).read("select current_user", "", 10, lambda _: ())
    assert found.rows == (("dbt",),)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        RowReader(session, "analyst", 5, 5).read("select 1", "", 10, lambda _: ())


def test_a_session_that_is_gone_is_of_no_use(session: Session) -> None:
    with pytest.raises(psycopg2.Error) as raised:
        read(session, "select pg_terminate_backend(pg_backend_pid())")
    assert unreadable(raised.value) or session.ended
