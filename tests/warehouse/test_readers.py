"""The readers themselves, with plain SQL: they notice what they must, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.harness.database import Database
from tests.harness.readers import GUEST, Readers, State, What, watched
from tests.harness.waiting import wait_until

TABLE = "shop.facts"
VIEWS = ("shop.first", "seen.second", "seen.third")
OLD, NEW = State.of(2000, version=1), State.of(2100, version=2)

PREPARED = f"""
create schema shop;
create schema seen;
create table {TABLE} as select n as id, 1 as version from generate_series(1, {OLD.rows}) as n;
create view shop.first as select id, version from shop.facts;
create view seen.second as select id, version from shop.first;
create view seen.third as select id, version from seen.second;
grant usage on schema shop, seen to {GUEST};
grant select on shop.first, seen.second, seen.third to {GUEST};
"""

BUILD = (
    f"create table {{}} as select n as id, 2 as version from generate_series(1, {NEW.rows}) as n"
)

REPLACED = "create or replace view shop.first as select id, version from shop.facts"


@pytest.fixture
def shop(server: Database) -> Iterator[Readers]:
    """Readers of the old table, each of which has read; the test makes it the new one."""
    server.renew()
    relations = watched(server, TABLE, *VIEWS)
    server.rows("dbt", PREPARED)
    with Readers(relations, OLD, pause=0.01, snapshot_seconds=1.0) as readers:
        everybody_has_read(readers)
        assert not readers.troubles, readers.summary()
        yield readers


def everybody_has_read(readers: Readers) -> None:
    """Waits until each has begun to read, and has read."""
    before = {reader: reader.counts.reads for reader in readers.polling}

    def probe() -> bool | str:
        late = [reader.name for reader, reads in before.items() if reader.counts.reads < reads + 2]
        return not late or f"{', '.join(late)}; {readers.summary()}"

    wait_until("each reader to read", probe)


def test_a_swap_that_waits_for_old_snapshots_is_no_trouble(server: Database, shop: Readers) -> None:
    with shop.during(NEW):
        server.rows("dbt", "create schema aside")
        server.rows("dbt", BUILD.format("aside.facts"))
        wait_until("everybody to see the new rows", lambda: frozen(server, "aside.facts"))
        swap = (
            "create schema former; alter table shop.facts set schema former;"
            f"alter table aside.facts set schema shop; {REPLACED}"
        )
        wait_until("the swap", lambda: at_once(server, swap))
    assert shop.now == NEW
    everybody_has_read(shop)
    assert not shop.troubles, shop.summary()
    kinds = {reader.name.partition(",")[0] for reader in shop.all}
    assert kinds == {
        "autocommit", "another role", "probe", "prepared", "repeatable read",
        "repeatable read from before", "cursor with hold", "cursor in a transaction", "pg_dump",
    }  # fmt: skip
    assert shop.longest_wait > 0 and shop.reads > 100


def test_a_table_that_is_dropped_and_made_again_is_noticed_by_its_readers(
    server: Database, shop: Readers
) -> None:
    with shop.during(NEW):
        wait_until("the drop", lambda: at_once(server, f"drop table {TABLE} cascade"))
        everybody_has_read(shop)
        server.rows("dbt", BUILD.format(TABLE))
    errors = {trouble.reader for trouble in shop.troubles if trouble.what is What.ERROR}
    assert {f"autocommit, {name}" for name in (TABLE, *VIEWS)} <= errors
    assert {f"another role, {VIEWS[-1]}", f"prepared, {VIEWS[-1]}"} <= errors
    assert f"pg_dump, {TABLE}" in {trouble.reader for trouble in shop.troubles}


def test_a_swap_by_names_that_an_old_snapshot_sees_empty_is_noticed(
    server: Database, shop: Readers
) -> None:
    shop.snapshot_seconds = 60.0
    with shop.during(NEW):
        server.rows("dbt", BUILD.format("shop.facts_new"))
        swap = (
            "alter table shop.facts rename to facts_old;"
            f"alter table shop.facts_new rename to facts; {REPLACED}"
        )
        wait_until("the swap", lambda: at_once(server, swap))
    late = [trouble for trouble in shop.troubles if "from before" in trouble.reader]
    assert [trouble.what for trouble in late] == [What.WRONG, What.WRONG]
    assert all(trouble.text.startswith("0 rows") for trouble in late), shop.summary()


def test_rows_of_two_versions_in_one_answer_are_noticed(server: Database, shop: Readers) -> None:
    with shop.during(NEW):
        server.rows("dbt", f"update {TABLE} set version = 2 where id <= 100")
        everybody_has_read(shop)
        server.rows("dbt", f"update {TABLE} set version = 1")
    wrong = {trouble.reader for trouble in shop.troubles if trouble.what is What.WRONG}
    assert {f"autocommit, {TABLE}", f"pg_dump, {TABLE}", f"prepared, {VIEWS[-1]}"} <= wrong
    assert shop.errors == 0, shop.summary()


def test_the_old_rows_are_wrong_once_the_new_ones_are_in_place(
    server: Database, shop: Readers
) -> None:
    shop.now = State.of(5, version=1)
    with shop.during(NEW):
        everybody_has_read(shop)
    assert {What.WRONG} == {trouble.what for trouble in shop.troubles}


def frozen(server: Database, table: str) -> bool | str:
    """Whether every page of a table is visible to every snapshot."""
    server.rows("dbt", f"vacuum (freeze) {table}")
    query = f"select relallvisible, relpages from pg_class where oid = '{table}'::regclass"
    [(visible, pages)] = server.rows("dbt", query)
    return visible == pages > 0 or f"{visible} of {pages} pages"


def at_once(server: Database, statements: str) -> bool | str:
    """One try of a transaction that locks everybody out. It waits less than the server does before
    it looks for deadlocks: a dump locks a table, and then the views on it; every other reader does
    it the other way round."""
    lock = "lock table seen.third, seen.second, shop.first, shop.facts in access exclusive mode;"
    try:
        server.rows("dbt", f"begin; set local lock_timeout = '300ms'; {lock} {statements}; commit")
    except psycopg.errors.LockNotAvailable as error:
        return str(error)
    return True
