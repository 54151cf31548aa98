"""A swap of relations on a real PostgreSQL, under readers, writers and kills."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import psycopg
import psycopg2
import pytest

from mage_dbt.launcher.database_roles import SUPERUSER
from mage_dbt.launcher.postgres import binaries
from mage_dbt.model.refresh import CheckName, RefreshOptions
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.postgres import Postgres
from mage_dbt.warehouse.refresh import Part, RefreshRefused, Swapped
from mage_dbt.warehouse.refresh.postgres import swap
from mage_dbt.warehouse.refresh.postgres.refresher import PostgresRefresher
from mage_dbt.warehouse.session import Session
from tests.harness.database import Database
from tests.harness.waiting import SECONDS, wait_for_time, wait_until

RUN, SECOND = "20260102-030405-abcdef", "20260103-030405-abcdef"

OPTIONS = RefreshOptions(snapshot_seconds=int(SECONDS), lock_seconds=int(SECONDS))


@dataclass
class Warehouse:
    """A warehouse with one table and three levels of views in two schemas, as the role dbt."""

    server: Database
    reports: list[str] = field(default_factory=list)

    def run(self, *statements: str, role: str = "dbt") -> None:
        with self.server.connect(role, "warehouse") as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, sql: str, role: str = "dbt") -> list[Any]:
        with self.server.connect(role, "warehouse") as connection:
            return connection.execute(sql.encode()).fetchall()

    def value(self, sql: str, role: str = "dbt") -> Any:
        return self.rows(sql, role)[0][0]

    def connect(self, role: str = "dbt") -> psycopg.Connection[Any]:
        return self.server.connect(role, "warehouse")

    def refresher(self) -> PostgresRefresher:
        return PostgresRefresher(psycopg2.connect(self.server.url("dbt", "warehouse")))

    def part(self, name: str, run: str = RUN, schema: str = "shop", **values: Any) -> Part:
        aside = self.refresher().aside_schema(run, schema, values.pop("schemas", [schema]))
        return Part(f"model.{name}", name, Name("", schema, name), Name("", aside, name), **values)


@pytest.fixture
def warehouse(server: Database) -> Warehouse:
    server.renew()
    found = Warehouse(server)
    found.run(
        "create schema shop; create schema bi",
        "grant usage on schema shop, bi to analyst",
        "create table shop.orders as select id, id * 2 as amount from generate_series(1, 1000) id",
        "create index orders_id on shop.orders (id)",
        "grant select on shop.orders to analyst",
        "comment on table shop.orders is 'What was sold'",
        "create view bi.orders as select id, amount from shop.orders",
        "create view shop.totals as select count(*) as n, sum(amount) as amount from bi.orders",
        "create view bi.top as select n from shop.totals",
        "grant select on bi.orders, shop.totals, bi.top to analyst",
    )
    return found


def build(warehouse: Warehouse, part: Part, query: str) -> None:
    """What dbt does."""
    kind = "view" if part.is_view else "table"
    warehouse.run(f"create {kind} {part.incoming} as {query}")


ORDERS = "select id, id * 3 as amount, 'new' as state from generate_series(1, 1200) id"


def refresh(
    warehouse: Warehouse,
    run: str,
    parts: list[Part],
    builds: Callable[[], None] = lambda: None,
    options: RefreshOptions = OPTIONS,
) -> Swapped:
    refresher = warehouse.refresher()
    state = refresher.begin(run, parts)
    builds()
    refresher.rehearse(parts)
    check = refresher.settle(parts, options, warehouse.reports.append)
    assert not check.stops, check
    return refresher.swap(run, parts, state, options, warehouse.reports.append)


def undone(warehouse: Warehouse, run: str) -> list[Part]:
    """The parts that bring back what the run has replaced."""
    return [
        Part(
            kept.node,
            kept.node.removeprefix("model."),
            name := Name("", "shop", kept.node.removeprefix("model.")),
            Name("", kept.schema, name.name),
            is_view=kept.kind == "view",
        )
        for kept in warehouse.refresher().swapped(run)
    ]


def test_a_swap_puts_the_new_rows_in_place_and_an_undo_the_old_ones(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")
    swapped = refresh(warehouse, RUN, [part], lambda: build(warehouse, part, ORDERS))
    assert warehouse.value("select n from bi.top", "analyst") == 1200
    assert warehouse.value("select sum(amount) from shop.orders", "analyst") == 3 * 720600
    assert [kept.relation for kept in swapped.kept] == ["shop.orders"]

    undo = undone(warehouse, RUN)
    refresh(warehouse, SECOND, undo)
    assert warehouse.value("select n from bi.top", "analyst") == 1000
    assert [kept.run for kept in warehouse.refresher().kept()] == [SECOND]


class Readers:
    """Sessions that read all the time, each in its own way, while a block lasts."""

    def __init__(self, warehouse: Warehouse, counts: set[int]) -> None:
        self._warehouse = warehouse
        self._counts = counts
        self._over = threading.Event()
        self.faults: list[str] = []
        self.reads = 0

    def __enter__(self) -> Readers:
        ways = [self._autocommit, self._prepared, self._repeatable, self._cursor]
        self._threads = [threading.Thread(target=self._keep, args=(way,)) for way in ways]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(SECONDS)

    def until_they_read_on(self) -> None:
        enough = self.reads + 20
        wait_until("all to read on", lambda: self.reads > enough or f"{self.reads} so far")

    def _keep(self, way: Callable[[psycopg.Connection[Any]], list[int]]) -> None:
        role = "analyst" if way in (self._autocommit, self._cursor) else "dbt"
        try:
            with self._warehouse.connect(role) as connection:
                while not self._over.is_set():
                    counts = way(connection)
                    self.reads += len(counts)
                    if wrong := {*counts} - self._counts:
                        self.faults.append(f"{way.__name__} found {wrong}")
        except Exception as error:
            self.faults.append(f"{way.__name__}: {error}")

    def _autocommit(self, connection: psycopg.Connection[Any]) -> list[int]:
        names = ("shop.orders", "bi.orders")
        found = [connection.execute(f"select count(*) from {name}").fetchone() for name in names]
        found.append(connection.execute("select n from bi.top").fetchone())
        return [row[0] for row in found if row]

    def _prepared(self, connection: psycopg.Connection[Any]) -> list[int]:
        rows = connection.execute("select id, amount from shop.orders", prepare=True).fetchall()
        return [len(rows)]

    def _repeatable(self, connection: psycopg.Connection[Any]) -> list[int]:
        """A snapshot that is older than the first look at the table."""
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read")
            connection.execute("select 1")
            self._over.wait(0.1)
            found = self._autocommit(connection)
            assert len({*found}) == 1, f"one transaction found {found}"
            return found

    def _cursor(self, connection: psycopg.Connection[Any]) -> list[int]:
        with connection.transaction(), connection.cursor("held") as cursor:
            cursor.itersize = 100
            cursor.execute("select id from bi.orders")
            return [sum(1 for _ in cursor)]


def test_the_first_model_of_a_schema_brings_its_schema(warehouse: Warehouse) -> None:
    part = warehouse.part("first", schema="fresh")
    refresh(warehouse, RUN, [part], lambda: build(warehouse, part, "select 1 as id"))
    assert warehouse.rows("select id from fresh.first") == [(1,)]


def test_readers_find_the_old_rows_or_the_new_through_many_swaps(warehouse: Warehouse) -> None:
    with Readers(warehouse, {1000, 1200}) as readers:
        part = warehouse.part("orders")
        refresh(warehouse, RUN, [part], lambda: build(warehouse, part, ORDERS))
        previous = RUN
        for number in range(6):
            run = f"20260201-00000{number}-abcdef"
            refresh(warehouse, run, undone(warehouse, previous))
            readers.until_they_read_on()
            previous = run
    assert not readers.faults
    assert readers.reads > 50
    assert warehouse.value("select count(*) from shop.orders") == 1200


def test_a_transaction_older_than_the_new_rows_is_waited_for(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    with warehouse.connect("analyst") as reader, futures.ThreadPoolExecutor() as pool:
        reader.execute("begin isolation level repeatable read")
        reader.execute("select 1")
        state = refresher.begin(RUN, [part])
        build(warehouse, part, ORDERS)
        check = pool.submit(refresher.settle, [part], OPTIONS, warehouse.reports.append)
        wait_until("the sentence", lambda: bool(warehouse.reports) or "there is none")
        assert not check.done()
        reader.execute("commit")
        assert check.result().passed, check.result()
        refresher.swap(RUN, [part], state, OPTIONS, warehouse.reports.append)
        assert f"process {reader.info.backend_pid} (analyst)" in warehouse.reports[0]


def test_a_snapshot_that_never_ends_stops_the_swap_unless_it_is_overridden(
    warehouse: Warehouse,
) -> None:
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    with warehouse.connect("analyst") as reader:
        reader.execute("begin isolation level repeatable read")
        reader.execute("select 1")
        state = refresher.begin(RUN, [part])
        build(warehouse, part, ORDERS)
        impatient = replace(OPTIONS, snapshot_seconds=1)
        check = refresher.settle([part], impatient, warehouse.reports.append)
        assert check.stops
        assert f"process {reader.info.backend_pid} (analyst)" in check.text
        override = replace(impatient, override=("snapshot",))
        check = refresher.settle([part], override, warehouse.reports.append)
        assert not check.stops and not check.passed
        refresher.swap(RUN, [part], state, override, warehouse.reports.append)
        # What the override accepts: for this one transaction the table is empty.
        assert reader.execute("select count(*) from shop.orders").fetchone() == (0,)


TRIES = "select pid from pg_locks where mode = 'AccessExclusiveLock' and not granted"


def test_a_reader_in_the_opposite_order_of_locks_gets_its_rows(warehouse: Warehouse) -> None:
    for number, (first, then) in enumerate(
        [("shop.orders", "bi.top"), ("bi.top", "shop.orders"), ("bi.orders", "shop.orders")]
    ):
        part = warehouse.part("orders", run := f"20260301-00000{number}-abcdef")
        refresher = warehouse.refresher()
        state = refresher.begin(run, [part])
        build(warehouse, part, ORDERS)
        refresher.settle([part], OPTIONS, warehouse.reports.append)
        with (
            warehouse.connect("analyst") as reader,
            futures.ThreadPoolExecutor() as pool,
            Readers(warehouse, {1000, 1200}) as others,
        ):
            reader.execute("begin")
            reader.execute(f"select * from {first} limit 1")
            swap = pool.submit(
                refresher.swap, run, [part], state, OPTIONS, warehouse.reports.append
            )
            wait_until("a try", lambda: bool(warehouse.rows(TRIES)) or "nobody waits")
            wait_until("its end", lambda: not warehouse.rows(TRIES) or "it keeps all others out")
            others.until_they_read_on()
            assert not swap.done()
            reader.execute(f"select * from {then} limit 1")
            reader.execute("commit")
            swapped = swap.result()
        assert not others.faults
        assert swapped.tries > 1


def test_a_lock_that_cannot_be_had_refuses_and_says_who_has_it(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    state = refresher.begin(RUN, [part])
    build(warehouse, part, ORDERS)
    refresher.settle([part], OPTIONS, warehouse.reports.append)
    with warehouse.connect("analyst") as reader:
        reader.execute("set application_name = 'a notebook'; begin")
        reader.execute("select * from bi.top")
        with pytest.raises(RefreshRefused) as refused:
            short = replace(OPTIONS, lock_seconds=2)
            refresher.swap(RUN, [part], state, short, warehouse.reports.append)
        assert f"process {reader.info.backend_pid} (a notebook, analyst)" in str(refused.value)
    assert warehouse.value("select count(*) from shop.orders") == 1000
    assert refresher.discard(RUN)
    assert not warehouse.rows("select nspname from pg_namespace where nspname like 'mage_dbt%'")


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_writer_in_a_transaction_is_waited_for_and_what_it_wrote_is_kept(
    warehouse: Warehouse, ends: str
) -> None:
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    state = refresher.begin(RUN, [part])
    build(warehouse, part, ORDERS)
    refresher.settle([part], OPTIONS, warehouse.reports.append)
    with warehouse.connect() as writer, futures.ThreadPoolExecutor() as pool:
        writer.execute("begin")
        writer.execute("update shop.orders set amount = 0 where id = 1")
        swap = pool.submit(refresher.swap, RUN, [part], state, OPTIONS, warehouse.reports.append)
        wait_for_time(time.monotonic() + 1)
        assert warehouse.value("select count(*) from bi.orders", "analyst") == 1000
        assert not swap.done()
        writer.execute(ends)
        if ends == "rollback":
            assert swap.result().kept
        else:
            with pytest.raises(RefreshRefused, match="has written") as refused:
                swap.result()
            assert refused.value.check == CheckName.WRITES
            assert warehouse.value("select amount from shop.orders where id = 1") == 0


CHANGES = {
    "an update": ["update shop.orders set amount = amount where id = 5"],
    "as many rows deleted as inserted": [
        "begin; delete from shop.orders where id = 5; insert into shop.orders values (5, 9); commit"
    ],
    "truncate": ["truncate shop.orders"],
    "a column's comment": ["comment on column shop.orders.id is 'x'"],
    "a grant": ["grant insert on shop.orders to analyst"],
    "an index": ["create index on shop.orders (amount)"],
    "a rename": ["alter table shop.orders rename to gone"],
    "another table": [
        "drop table shop.orders cascade",
        "create table shop.orders as select 1 as id, 2 as amount",
    ],
}

NO_CHANGES = {
    "vacuum freeze": ["vacuum freeze shop.orders"],
    "vacuum full": ["vacuum full shop.orders"],
    "analyze": ["analyze shop.orders"],
    "a row that is locked": ["begin; select from shop.orders where id = 1 for update; commit"],
    "an insert that is rolled back": ["begin; insert into shop.orders values (1, 1); rollback"],
}


@pytest.mark.parametrize("what", [*CHANGES, *NO_CHANGES])
def test_a_change_from_elsewhere_stops_the_swap_and_housekeeping_does_not(
    warehouse: Warehouse, what: str
) -> None:
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    state = refresher.begin(RUN, [part])
    build(warehouse, part, ORDERS)
    refresher.settle([part], OPTIONS, warehouse.reports.append)
    warehouse.run(*CHANGES.get(what, []), *NO_CHANGES.get(what, []))
    if what in CHANGES:
        with pytest.raises(RefreshRefused) as refused:
            refresher.swap(RUN, [part], state, OPTIONS, warehouse.reports.append)
        assert refused.value.check == CheckName.WRITES
    else:
        refresher.swap(RUN, [part], state, OPTIONS, warehouse.reports.append)
        assert warehouse.value("select n from bi.top") == 1200


def test_a_view_made_during_the_build_reads_the_new_rows(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")

    def builds() -> None:
        build(warehouse, part, ORDERS)
        warehouse.run("create view bi.late as select count(*) as n from shop.orders")

    refresh(warehouse, RUN, [part], builds)
    assert warehouse.value("select n from bi.late") == 1200


def test_of_two_swaps_of_one_table_one_happens(warehouse: Warehouse) -> None:
    runs = (RUN, SECOND)
    parts = [warehouse.part("orders", run) for run in runs]
    refreshers, states = [warehouse.refresher() for _ in runs], []
    for refresher, run, part in zip(refreshers, runs, parts, strict=True):
        states.append(refresher.begin(run, [part]))
        build(warehouse, part, ORDERS)
        refresher.settle([part], OPTIONS, warehouse.reports.append)
    outcomes = []
    with futures.ThreadPoolExecutor() as pool:
        swaps = [
            pool.submit(refresher.swap, run, [part], state, OPTIONS, warehouse.reports.append)
            for refresher, run, part, state in zip(refreshers, runs, parts, states, strict=True)
        ]
        for swap in swaps:
            try:
                outcomes.append(str(len(swap.result().kept)))
            except RefreshRefused as error:
                outcomes.append(str(error))
    assert sorted(outcomes)[0] == "1"
    assert "another relation" in sorted(outcomes)[1]
    assert warehouse.value("select n from bi.top", "analyst") == 1200


LONG = "Ä" * 31 + "x"
"""63 bytes."""


@pytest.mark.parametrize("name", ["Mixed Case", 'a"quote', "50%s", LONG, "select", "a.b", "ёж"])
def test_any_name_is_swapped_and_brought_back(warehouse: Warehouse, name: str) -> None:
    live = Name("", name, name)
    warehouse.run(
        f"create schema {Name('', '', name)}",
        f"create table {live} as select 1 as {Name('', '', name)}",
        f"create view {Name('', name, 'v')} as select * from {live}",
        f"comment on table {live} is $$it's 100% {name}$$",
    )
    refresher = warehouse.refresher()
    part = Part("model.x", "x", live, Name("", refresher.aside_schema(RUN, name, [name]), name))
    query = f"select 2 as {Name('', '', name)}"
    refresh(warehouse, RUN, [part], lambda: build(warehouse, part, query))
    assert warehouse.rows(f"select * from {Name('', name, 'v')}") == [(2,)]
    (kept,) = refresher.swapped(RUN)
    assert Postgres.folding.name(kept.relation) == live
    undo = replace(part, incoming=Name("", kept.schema, name))
    refresh(warehouse, SECOND, [undo])
    assert warehouse.rows(f"select * from {Name('', name, 'v')}") == [(1,)]


def test_parts_of_several_schemas_are_swapped_together(warehouse: Warehouse) -> None:
    """A table and a view on it of one name in two schemas; a view on both is made anew."""
    warehouse.run("create view bi.both as select o.n from bi.top o, shop.orders s, bi.orders b")
    schemas = ["bi", "shop"]
    table = warehouse.part("orders", schema="shop", schemas=schemas)
    view = replace(
        warehouse.part("orders", schema="bi", schemas=schemas, is_view=True), node="model.view"
    )

    def builds() -> None:
        build(warehouse, table, ORDERS)
        build(warehouse, view, f"select id, amount, state from {table.incoming}")

    before = warehouse.value("select 'bi.top'::regclass::oid")
    swapped = refresh(warehouse, RUN, [view, table], builds)
    assert len({kept.schema for kept in swapped.kept}) == 2
    assert warehouse.value("select count(*) from bi.orders where state = 'new'", "analyst") == 1200
    assert warehouse.value("select n from bi.top", "analyst") == 1200
    assert warehouse.value("select count(*) from bi.both") == 1200 * 1200
    assert warehouse.value("select 'bi.top'::regclass::oid") == before

    with pytest.raises(RefreshRefused, match="Choose both together"):
        only = replace(view, incoming=Name("", swapped.kept[0].schema, "orders"))
        for kept in swapped.kept:
            if kept.relation == "bi.orders":
                only = replace(view, incoming=Name("", kept.schema, "orders"))
        refresh(warehouse, SECOND, [only])
    by_relation = {kept.relation: Name("", kept.schema, "orders") for kept in swapped.kept}
    undo = [
        replace(view, incoming=by_relation["bi.orders"]),
        replace(table, incoming=by_relation["shop.orders"]),
    ]
    warehouse.refresher().discard(SECOND)
    refresh(warehouse, SECOND, undo)
    assert warehouse.value("select n from bi.top", "analyst") == 1000
    assert warehouse.value("select count(*) from bi.both") == 1000 * 1000
    names = warehouse.rows("select nspname from pg_namespace where nspname like 'mage%' order by 1")
    assert [name for (name,) in names] == [
        "mage_dbt_old_20260103_030405_abcdef",
        "mage_dbt_old_20260103_030405_abcdef_2",
    ]


@pytest.mark.parametrize("becomes_view", [True, False])
def test_a_table_becomes_a_view_and_a_view_a_table(
    warehouse: Warehouse, becomes_view: bool
) -> None:
    name = "orders" if becomes_view else "totals"
    part = warehouse.part(name, is_view=becomes_view)
    table = "select 5::bigint as n, 6::numeric as amount"
    query = "select 7 as id, 8 as amount" if becomes_view else table
    refresh(warehouse, RUN, [part], lambda: build(warehouse, part, query))
    assert warehouse.value("select n from bi.top", "analyst") == (1 if becomes_view else 5)
    refresh(warehouse, SECOND, undone(warehouse, RUN))
    assert warehouse.value("select n from bi.top", "analyst") == 1000


def test_a_first_build_moves_in_with_the_rights_of_its_schema(warehouse: Warehouse) -> None:
    warehouse.run("alter default privileges in schema shop grant select on tables to analyst")
    part = warehouse.part("fresh")
    assert not refresh(warehouse, RUN, [part], lambda: build(warehouse, part, "select 1 as a")).kept
    assert warehouse.value("select a from shop.fresh", "analyst") == 1
    assert not warehouse.rows("select nspname from pg_namespace where nspname like 'mage_dbt%'")


def test_nobody_else_may_use_what_is_aside_whatever_default_privileges_say(
    warehouse: Warehouse,
) -> None:
    warehouse.run("alter default privileges grant usage, create on schemas to analyst, public")
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    refresher.begin(RUN, [part])
    for right in ("usage", "create"):
        assert not warehouse.value(
            f"select has_schema_privilege('mage', '{part.incoming.schema}', '{right}')"
        )
    assert refresher.discard(RUN)
    assert not refresher.discard(RUN)


def test_a_view_that_does_not_fit_is_named_before_any_lock(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    refresher.begin(RUN, [part])
    build(warehouse, part, "select id, 'x' as amount from generate_series(1, 3) id")
    with warehouse.connect("analyst") as reader:
        reader.execute("begin; select * from bi.top; select * from shop.orders")
        with pytest.raises(RefreshRefused, match="The view bi.orders does not fit") as refused:
            refresher.rehearse([part])
    assert "data type of view column" in str(refused.value)
    assert refused.value.check == CheckName.DEPENDENTS
    assert not warehouse.rows("select nspname from pg_namespace where nspname like 'mage_dbt_try%'")


def test_a_preview_rehearses_the_queries_and_changes_nothing(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")
    queries = {part.node: "select id, 'x'::text as amount from shop.orders -- so"}
    (found,) = warehouse.refresher().preview([part], queries)
    assert "bi.orders does not fit" in str(found.refusals[0])
    (found,) = warehouse.refresher().preview([part], {part.node: ORDERS})
    assert not found.refusals
    assert [str(change) for change in found.columns] == ["+ state text"]
    assert not warehouse.rows("select nspname from pg_namespace where nspname like 'mage_dbt%'")


def test_a_rehearsed_query_calls_functions_as_the_role_does(warehouse: Warehouse) -> None:
    function = "function public.as_text(bigint) returns text language sql as 'select $1::text'"
    warehouse.run(f"create {function}", role=SUPERUSER)
    part = warehouse.part("orders")
    query = "select id, as_text(amount) as amount from shop.orders"
    (found,) = warehouse.refresher().preview([part], {part.node: query})
    assert "bi.orders does not fit" in str(found.refusals[0])


def test_a_view_by_positions_is_swapped_together_with_its_table(warehouse: Warehouse) -> None:
    warehouse.run("create view shop.first as select c1 from shop.orders as x(c1, c2)")
    table, view = warehouse.part("orders"), warehouse.part("first", is_view=True)

    def builds() -> None:
        build(warehouse, table, "select 7 as added, id, amount from shop.orders")
        build(warehouse, view, f"select c1 from {table.incoming} as x(c1, c2)")

    refresh(warehouse, RUN, [table, view], builds)
    assert warehouse.rows("select distinct c1 from shop.first") == [(7,)]


def test_a_new_view_that_names_the_live_table_is_refused(warehouse: Warehouse) -> None:
    table, view = warehouse.part("orders"), warehouse.part("totals", is_view=True)
    refresher = warehouse.refresher()
    refresher.begin(RUN, [table, view])
    build(warehouse, table, ORDERS)
    build(warehouse, view, "select count(*) as n, sum(amount) as amount from shop.orders")
    with pytest.raises(RefreshRefused, match="reads the present shop.orders"):
        refresher.rehearse([table, view])


def test_what_a_hook_made_aside_is_named(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    refresher.begin(RUN, [part])
    build(warehouse, part, ORDERS)
    warehouse.run(f"create table {replace(part.incoming, name='audit')} (a int)")
    with pytest.raises(RefreshRefused, match="table mage_dbt_new_.*audit"):
        refresher.rehearse([part])


def test_an_undo_of_an_undo_works_any_number_of_times(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")
    refresh(warehouse, RUN, [part], lambda: build(warehouse, part, ORDERS))
    run = RUN
    for number in range(4):
        following = f"20260401-00000{number}-abcdef"
        refresh(warehouse, following, undone(warehouse, run))
        assert warehouse.value("select n from bi.top", "analyst") == (1200 if number % 2 else 1000)
        assert [kept.run for kept in warehouse.refresher().kept()] == [following]
        run = following


def test_what_is_kept_too_long_is_dropped_but_nothing_of_anybody_elses(
    warehouse: Warehouse,
) -> None:
    warehouse.run(
        "create schema mage_dbt_old_mine; create table mage_dbt_old_mine.t (a int)",
        "create schema mage_dbt_old_other; comment on schema mage_dbt_old_other is '{\"a\": 1}'",
    )
    part = warehouse.part("orders")
    refresh(warehouse, RUN, [part], lambda: build(warehouse, part, ORDERS))
    warehouse.run(f"create view bi.old as select * from {(undone(warehouse, RUN))[0].incoming}")
    refresher = warehouse.refresher()
    (kept,) = refresher.kept()
    assert not refresher.drop_expired(kept.at, warehouse.reports.append)
    assert not refresher.drop_expired(kept.until, warehouse.reports.append)
    assert "bi.old depends on" in warehouse.reports[-1]
    assert warehouse.reports[-1].endswith("It is dropped when nothing depends on it any more.")
    assert refresher.kept()
    warehouse.run("drop view bi.old")
    assert refresher.drop_expired(kept.until, warehouse.reports.append) == [kept]
    assert not refresher.kept()
    names = warehouse.rows("select nspname from pg_namespace where nspname like 'mage%' order by 1")
    assert names == [("mage_dbt_old_mine",), ("mage_dbt_old_other",)]


@pytest.mark.parametrize(
    "comment",
    [
        *("by hand", "{}", "[]", '{"mage_dbt": 1}'),
        '{"mage_dbt": 1, "run": 7, "schema": 8, "relations": {"orders": 9},'
        ' "at": "2026-01-02T00:00:00+00:00", "until": "2026-01-03T00:00:00+00:00"}',
        '{"mage_dbt": 1, "run": "7", "schema": "shop", "relations": {"orders": "model.orders"},'
        ' "at": "2026-01-02T00:00:00", "until": "2026-01-03T00:00:00"}',
        '{"mage_dbt": 1, "run": "7", "schema": "shop", "relations": ["orders"],'
        ' "at": "2026-01-02T00:00:00+00:00", "until": 5}',
    ],
)
def test_a_comment_that_somebody_edited_hides_no_other_former_relation(
    warehouse: Warehouse, comment: str
) -> None:
    for run in (RUN, SECOND):
        part = warehouse.part("orders", run)
        refresh(warehouse, run, [part], partial(build, warehouse, part, ORDERS))
    (first,) = warehouse.refresher().swapped(RUN)
    warehouse.run(f"comment on schema {first.schema} is '{comment}'")
    refresher = warehouse.refresher()
    assert SECOND in [kept.run for kept in refresher.kept()]
    assert [kept.run for kept in refresher.swapped(SECOND)] == [SECOND]
    gone = refresher.drop_expired(refresher.swapped(SECOND)[0].until, warehouse.reports.append)
    assert SECOND in [kept.run for kept in gone]


def test_an_undo_is_told_nothing_of_the_model(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")
    refresh(warehouse, RUN, [part], lambda: build(warehouse, part, ORDERS))
    warehouse.run(
        "create view bi.states as select state from shop.orders",
        "create materialized view bi.copied as select id from shop.orders",
    )
    (found,) = warehouse.refresher().preview(undone(warehouse, RUN), {})
    texts = [*map(str, found.refusals), *found.notes]
    assert any("bi.states uses state, which the former relation lacks" in text for text in texts)
    assert any("bi.copied" in text for text in texts)
    assert not [text for text in texts if "in_place" in text or "REFRESH_ROWS_PERCENT" in text]


def test_a_view_carries_nothing_that_only_tables_have(warehouse: Warehouse) -> None:
    (found,) = warehouse.refresher().preview([warehouse.part("totals", is_view=True)], {})
    assert found.carried == ("owner dbt", "select for analyst")


def test_a_sequence_whose_name_is_taken_is_named_before_the_swap(warehouse: Warehouse) -> None:
    warehouse.run("create sequence shop.orders_number_seq")
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    refresher.begin(RUN, [part])
    build(warehouse, part, ORDERS)
    warehouse.run(f"alter table {part.incoming} add column number bigserial")
    with pytest.raises(RefreshRefused, match="brings names .*: orders_number_seq"):
        refresher.rehearse([part])


PROPERTIES = (
    "alter table shop.orders alter id set not null, alter amount set default 5, "
    "add constraint orders_key primary key (id), add constraint positive check (amount > 0), "
    "add constraint once unique (amount, id), alter amount set statistics 77, "
    "alter amount set (n_distinct = 5), set (fillfactor = 80, autovacuum_enabled = false), "
    "add column note text, alter note set storage external, "
    "replica identity using index orders_key",
    'create index "By hand" on shop.orders (lower(note), amount desc) where amount > 3',
    "create statistics shop.both (ndistinct) on id, amount from shop.orders",
    "comment on column shop.orders.id is 'The number'",
    """comment on index shop."By hand" is 'Made by hand'""",
    "comment on constraint positive on shop.orders is 'No refunds'",
    "comment on statistics shop.both is 'Correlated'",
    "alter table shop.orders cluster on once",
    "grant update (amount), references (id) on shop.orders to runner with grant option",
    "grant insert, select on shop.orders to ledger with grant option",
    "create view bi.checked with (security_barrier, check_option = cascaded) as "
    "select * from shop.orders where amount > 10",
    "comment on view bi.checked is 'Only large'",
    "grant select on bi.checked to analyst",
)


SAME_COLUMNS = "select id, id * 3 as amount, null::text as note from generate_series(1, 1200) id"


def schema_of(warehouse: Warehouse) -> str:
    """What pg_dump writes of the two schemas."""
    command = [str(binaries() / "pg_dump"), "--schema-only", "-n", "shop", "-n", "bi"]
    url = warehouse.server.url("postgres", "warehouse")
    found = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    return "\n".join(line for line in found.splitlines() if "restrict" not in line)


def test_pg_dump_finds_the_same_after_swap_and_undo_twice_over(warehouse: Warehouse) -> None:
    warehouse.run(*PROPERTIES)
    before = schema_of(warehouse)
    run = RUN
    part = warehouse.part("orders", run)
    refresh(warehouse, run, [part], lambda: build(warehouse, part, SAME_COLUMNS))
    assert schema_of(warehouse) == before
    for number in range(3):
        following = f"20260501-00000{number}-abcdef"
        refresh(warehouse, following, undone(warehouse, run))
        assert schema_of(warehouse) == before
        run = following
    again = warehouse.part("orders", SECOND)
    refresh(warehouse, SECOND, [again], lambda: build(warehouse, again, SAME_COLUMNS))
    assert schema_of(warehouse) == before


def test_pg_dump_runs_through_swaps_without_an_error(warehouse: Warehouse) -> None:
    """Each begins when another ends, so that swaps happen just where one begins."""
    part = warehouse.part("orders")
    refresh(warehouse, RUN, [part], lambda: build(warehouse, part, ORDERS))
    over, dumps = threading.Event(), []

    def dump() -> None:
        url = warehouse.server.url("postgres", "warehouse")
        while not over.is_set():
            command = [str(binaries() / "pg_dump"), "-n", "shop", "-n", "bi", url]
            dumps.append(subprocess.run(command, capture_output=True, text=True))

    thread = threading.Thread(target=dump)
    thread.start()
    run = RUN
    for number in range(2):
        following = f"20260601-00000{number}-abcdef"
        refresh(warehouse, following, undone(warehouse, run), options=OPTIONS)
        run = following
    over.set()
    thread.join()
    assert not [found.stderr for found in dumps if found.returncode]
    assert dumps


def test_a_session_that_is_ended_at_any_statement_of_the_swap_leaves_the_old_rows_whole(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.run(*PROPERTIES)
    before = schema_of(warehouse)
    part = warehouse.part("orders")
    state = warehouse.refresher().begin(RUN, [part])
    build(warehouse, part, SAME_COLUMNS)
    warehouse.refresher().settle([part], OPTIONS, warehouse.reports.append)
    monkeypatch.setattr(
        swap, "execute_all", lambda session, all: [session.execute(text) for text in all]
    )
    execute = Session.execute
    left = 0
    statements: list[str] = []

    def end_before(session: Session, sql: str, values: Any = None) -> None:
        nonlocal left
        statements.append(sql)
        left -= 1
        if left == 0:
            (row,) = session.rows("select pg_backend_pid() as pid")
            warehouse.value(f"select pg_terminate_backend({row['pid']}, 5000)", "postgres")
        execute(session, sql, values)

    monkeypatch.setattr(Session, "execute", end_before)
    for number in range(1, 1000):
        left = number
        refresher = warehouse.refresher()
        statements.clear()
        try:
            refresher.swap(RUN, [part], state, OPTIONS, warehouse.reports.append)
            break
        except psycopg2.OperationalError:
            assert schema_of(warehouse) == before
            assert warehouse.value("select n from bi.top", "analyst") == 1000
            assert not warehouse.refresher().swapped(RUN)
    assert number > 15
    assert statements[-1] == "commit"
    assert schema_of(warehouse) == before
    assert warehouse.value("select n from bi.top", "analyst") == 1200
    assert len(warehouse.refresher().swapped(RUN)) == 1


def test_a_reader_that_writes_later_meets_no_deadlock(warehouse: Warehouse) -> None:
    part = warehouse.part("orders")
    refresher = warehouse.refresher()
    state = refresher.begin(RUN, [part])
    build(warehouse, part, ORDERS)
    refresher.settle([part], OPTIONS, warehouse.reports.append)
    with futures.ThreadPoolExecutor() as pool:
        swap = None
        for _ in range(5):
            with warehouse.connect() as writer:
                writer.execute("begin; select * from bi.top; select * from shop.orders")
                swap = swap or pool.submit(
                    refresher.swap, RUN, [part], state, OPTIONS, warehouse.reports.append
                )
                wait_for_time(time.monotonic() + 0.6)
                writer.execute("update shop.orders set amount = 0 where id = 1")
                writer.execute("select * from bi.top; rollback")
        assert swap is not None
        assert swap.result().kept
    assert warehouse.value("select n from bi.top") == 1200


def test_another_run_takes_over_what_is_aside(warehouse: Warehouse) -> None:
    schemas = ["bi", "shop"]
    earlier = [warehouse.part(name, RUN, name, schemas=schemas) for name in schemas]
    refresher = warehouse.refresher()
    assert not refresher.adopt(RUN, SECOND, earlier)
    refresher.begin(RUN, earlier)
    shop = warehouse.part("orders", RUN, schemas=schemas)
    build(warehouse, shop, ORDERS)
    parts = [warehouse.part("orders", SECOND, name, schemas=schemas) for name in schemas]
    assert not refresher.adopt(RUN, SECOND, parts[:1])
    assert refresher.adopt(RUN, SECOND, parts)
    assert refresher.has_aside(SECOND) and not refresher.has_aside(RUN)
    assert refresher.give_back(SECOND) == RUN
    assert not refresher.give_back(SECOND) and not refresher.discard(SECOND)
    assert warehouse.value(f"select count(*) from {shop.incoming}") == 1200
    assert refresher.adopt(RUN, SECOND, parts)
    assert not refresher.discard(RUN)
    refresh(warehouse, SECOND, parts[1:2])
    assert warehouse.value("select n from bi.top") == 1200
