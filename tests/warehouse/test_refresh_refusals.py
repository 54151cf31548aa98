"""What a swap cannot carry over is refused by its name, before the build and under its locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest

from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.model.refresh import RefreshOptions
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.refresh import Part, RefreshRefused
from mage_dbt.warehouse.refresh.postgres import schemas
from mage_dbt.warehouse.refresh.postgres.refresher import PostgresRefresher
from mage_dbt.warehouse.refresh.postgres.refusals import refusals
from tests.harness.database import Database
from tests.harness.tables import Tables, tables

LIVE = Name("", "s", "t")

BY_DBT = {
    "a materialized view": (
        "create materialized view bi.m as select id from s.t",
        "The materialized view bi.m reads s.t.",
    ),
    "a foreign key to it": (
        "alter table s.t add primary key (id); create table bi.lines (t int references s.t)",
        "The foreign key lines_t_fkey on bi.lines refers to s.t.",
    ),
    "a foreign key from it": (
        "create table bi.days (k int primary key); alter table s.t add foreign key (k) "
        "references bi.days not valid",
        "s.t has the foreign key t_k_fkey.",
    ),
    "a foreign key to itself": (
        "alter table s.t add primary key (id); "
        "alter table s.t add constraint parent foreign key (k) references s.t not valid",
        "s.t has the foreign key parent.",
    ),
    "a trigger": (
        "create function s.f() returns trigger language plpgsql as 'begin return new; end'; "
        "create trigger stamp before insert on s.t for each row execute function s.f()",
        "The trigger stamp on s.t would stay with the former relation.",
    ),
    "row-level security": (
        "alter table s.t enable row level security",
        "s.t has row-level security.",
    ),
    "a policy": (
        "create policy own on s.t using (k = 1)",
        "The policy own on s.t would stay with the former relation.",
    ),
    "a policy of another table": (
        "create table bi.u as select 1 as id; "
        "create policy few on bi.u using (id in (select id from s.t))",
        "The policy few on bi.u uses s.t.",
    ),
    "a rule": (
        "create rule keep as on delete to s.t do instead nothing",
        "The rule keep on s.t would stay with the former relation.",
    ),
    "a rule of another table": (
        "create table bi.u as select 1 as id; "
        "create rule copy as on insert to bi.u do also insert into s.t values (new.id)",
        "The rule copy on bi.u uses s.t.",
    ),
    "a rule of a view": (
        "create view bi.v as select id from s.t; "
        "create rule into_it as on delete to bi.v do instead delete from s.t where id = old.id",
        "The rule into_it on bi.v uses s.t.",
    ),
    "a publication": (
        "create publication chosen for table s.t",
        "The publication chosen has s.t; its subscribers would not follow a swap.",
    ),
    "an owned sequence": (
        "create sequence s.numbers owned by s.t.id",
        "The sequence s.numbers is owned by a column of s.t",
    ),
    "a serial column": (
        "alter table s.t add column number serial",
        "The sequence s.t_number_seq is owned by a column of s.t",
    ),
    "an identity column": (
        'alter table s.t add column "No" int generated always as identity',
        "The column No of s.t is an identity column",
    ),
    "a function with a body in SQL": (
        "create function bi.f() returns bigint language sql begin atomic "
        "select count(id) from s.t; end",
        "The function bi.f() uses s.t.",
    ),
    "a procedure with a body in SQL": (
        "create procedure bi.p() language sql begin atomic delete from s.t where id = 1; end",
        "The procedure bi.p() uses s.t.",
    ),
    "a function that takes a row": (
        "create function bi.f(s.t) returns int language sql as 'select 1'",
        "The function bi.f(s.t) uses the row type of s.t.",
    ),
    "a function that gives rows": (
        "create function bi.f() returns setof s.t language sql as 'select * from s.t'",
        "The function bi.f() uses the row type of s.t.",
    ),
    "a function of an array of rows": (
        "create function bi.f(s.t[]) returns int language sql as 'select 1'",
        "The function bi.f(s.t[]) uses the row type of s.t.",
    ),
    "a column of the row type": (
        "create table bi.u (one s.t)",
        "The table column bi.u.one uses the row type of s.t.",
    ),
    "a column of an array of rows": (
        "create table bi.u (many s.t[])",
        "The table column bi.u.many uses the row type of s.t.",
    ),
    "a domain of the row type": (
        "create domain bi.d as s.t",
        "The type bi.d uses the row type of s.t.",
    ),
    "a view of whole rows": (
        "create view bi.v as select t from s.t",
        "The view column bi.v.t uses the row type of s.t.",
    ),
    "a child": (
        "create table bi.child () inherits (s.t)",
        "bi.child inherits from s.t.",
    ),
    "a parent": (
        "create table bi.parent (id int, k int); alter table s.t inherit bi.parent",
        "s.t is a partition or a child of bi.parent.",
    ),
    "a partition": (
        "create table bi.parts (id int, k int) partition by list (k); "
        "alter table bi.parts attach partition s.t for values in (2)",
        "s.t is a partition or a child of bi.parts.",
    ),
    "a partitioned table": (
        "drop table s.t; create table s.t (id int, k int) partition by list (k)",
        "s.t is a partitioned table; only tables and views can be swapped.",
    ),
    "a table of a type": (
        "drop table s.t; create type s.kind as (id int, k int); create table s.t of s.kind",
        "s.t is a typed table, of s.kind.",
    ),
    "a materialized view itself": (
        "drop table s.t; create materialized view s.t as select 1 as id",
        "s.t is a materialized view; only tables and views can be swapped.",
    ),
    "a trigger of a view": (
        "drop table s.t; create view s.t as select 1 as id; "
        "create function s.f() returns trigger language plpgsql as 'begin return new; end'; "
        "create trigger stamp instead of insert on s.t for each row execute function s.f()",
        "The trigger stamp on s.t would stay with the former relation.",
    ),
}

BY_SUPERUSER = {
    "a publication of all tables": (
        "create publication everything for all tables",
        "The publication everything has s.t; its subscribers would not follow a swap.",
    ),
    "a publication of the schema": (
        "create publication whole for tables in schema s",
        "The publication whole has all tables of the schema of s.t; its subscribers would not "
        "follow a swap.",
    ),
    "a view of another owner": (
        "grant usage, create on schema bi to analyst; "
        "set default_transaction_read_only = off; "
        "create view bi.v as select id from s.t; alter view bi.v owner to analyst",
        "The view bi.v on s.t is owned by analyst, of which the role that dbt uses is no member.",
    ),
    "a view where dbt may make none": (
        "create schema closed; grant usage on schema closed to dbt; "
        "create view closed.v as select id from s.t; alter view closed.v owner to dbt",
        "The role that dbt uses may not create anything in the schema closed of the view closed.v "
        "on s.t.",
    ),
    "another owner": (
        "alter table s.t owner to analyst",
        "s.t is owned by analyst, of which the role dbt is no member.",
    ),
    "a schema where dbt may make nothing": (
        "alter schema s owner to postgres; grant usage on schema s to dbt",
        "The role dbt may not create anything in the schema s.",
    ),
    "an event trigger": (
        "create function s.f() returns event_trigger language plpgsql as 'begin end'; "
        "create event trigger watch on ddl_command_end execute function s.f()",
        "The event trigger watch runs at ddl_command_end, so for the statements of a swap too.",
    ),
    "a security label": (
        "set allow_system_table_mods = on; insert into pg_seclabel "
        "values ('s.t'::regclass, 'pg_class'::regclass, 0, 'selinux', 'secret')",
        "s.t has a security label of selinux.",
    ),
    "a foreign table": (
        "create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing; "
        "drop table s.t; create foreign table s.t (id int) server nowhere; "
        "alter foreign table s.t owner to dbt",
        "s.t is a foreign table; only tables and views can be swapped.",
    ),
}

FINE = {
    "views, deeper views and a materialized view on one of them": (
        "create view bi.v as select id from s.t; create view bi.w as select * from bi.v; "
        "create materialized view bi.m as select * from bi.w"
    ),
    "a view of everything in a row": "create view bi.v as select row_to_json(t) as j from s.t",
    "a view that may be written to": (
        "create view bi.v as select id from s.t; "
        "create function s.f() returns trigger language plpgsql as 'begin return new; end'; "
        "create trigger stamp instead of insert on bi.v for each row execute function s.f()"
    ),
    "indexes, constraints, statistics, defaults and a generated column": (
        "alter table s.t add primary key (id), add unique (k), add check (k > 0); "
        "create index on s.t ((id + k)); create statistics s.st on id, k from s.t; "
        "create sequence s.free; alter table s.t alter k set default nextval('s.free'); "
        "alter table s.t add column twice int generated always as (id * 2) stored"
    ),
    "a function that only names it": (
        "create function bi.f() returns bigint language sql as 'select count(*) from s.t'"
    ),
    "a foreign key between others": (
        "create table bi.a (id int primary key); create table bi.b (id int references bi.a)"
    ),
    "an unlogged table": "alter table s.t set unlogged",
}


@pytest.fixture(scope="module", autouse=True)
def databases(postgres: Postgres) -> None:
    """New ones for this file."""


@pytest.fixture
def warehouse(server: Database) -> Iterator[Tables]:
    with tables(server, "s", "bi") as found:
        found.run("create table s.t as select 1 as id, 2 as k")
        yield found


def found(warehouse: Tables, *parts: int) -> list[str]:
    refused = refusals(warehouse.session, LIVE, parts)
    assert all(refusal.hint for refusal in refused)
    return [refusal.what for refusal in refused]


@pytest.mark.parametrize("case", BY_DBT)
def test_what_cannot_be_carried_is_refused_by_its_name(warehouse: Tables, case: str) -> None:
    statements, sentence = BY_DBT[case]
    warehouse.run(statements)
    refused = found(warehouse)
    assert len(refused) == 1
    assert refused[0].startswith(sentence)


@pytest.mark.parametrize("case", BY_SUPERUSER)
def test_what_only_others_can_do_is_refused_too(warehouse: Tables, case: str) -> None:
    statements, sentence = BY_SUPERUSER[case]
    warehouse.run(statements, role=SUPERUSER)
    try:
        assert found(warehouse) == [sentence]
    finally:
        warehouse.run(
            "drop event trigger if exists watch; drop foreign data wrapper if exists nothing "
            "cascade; set allow_system_table_mods = on; delete from pg_seclabel",
            role=SUPERUSER,
        )


RUN, SECOND = "20260102-030405-abcdef", "20260103-030405-abcdef"


def swap_meanwhile(warehouse: Tables, run: str, part: Part, *statements: str) -> None:
    """A swap, during whose build somebody runs these statements."""
    with closing(psycopg2.connect(warehouse.server.url("dbt", WAREHOUSE))) as connection:
        refresher = PostgresRefresher(connection)
        state = refresher.begin(run, [part])
        if part.incoming.schema == refresher.aside_schema(run, "s", ["s"]):
            warehouse.run(f"create table {part.incoming} as select 3 as id, 2 as k")
        warehouse.run(*statements)
        refresher.swap(run, [part], state, RefreshOptions(), lambda _: None)


@pytest.mark.parametrize("way", ["a refresh", "an undo"])
@pytest.mark.parametrize("case", BY_DBT)
def test_what_cannot_be_carried_is_refused_by_its_name_when_it_comes_during_the_build(
    warehouse: Tables, case: str, way: str
) -> None:
    statements, sentence = BY_DBT[case]
    aside, kept = (
        Name("", schemas.name_of(which, RUN, "s", ["s"]), "t")
        for which in (schemas.NEW, schemas.OLD)
    )
    run, part = RUN, Part("model.t", "t", LIVE, aside)
    if way == "an undo":
        swap_meanwhile(warehouse, run, part)
        run, part = SECOND, replace(part, incoming=kept)
    with pytest.raises(RefreshRefused) as refused:
        swap_meanwhile(warehouse, run, part, statements)
    assert sentence in refused.value.message
    assert ("in_place" in str(refused.value)) == (way == "a refresh")
    assert warehouse.value(f"select count(*) from {part.incoming}") == 1


def test_a_materialized_view_of_a_view_reads_the_new_rows_when_it_is_refreshed(
    warehouse: Tables,
) -> None:
    case = "views, deeper views and a materialized view on one of them"
    aside = Name("", schemas.name_of(schemas.NEW, RUN, "s", ["s"]), "t")
    swap_meanwhile(warehouse, RUN, Part("model.t", "t", LIVE, aside), FINE[case])
    warehouse.run("refresh materialized view bi.m")
    assert warehouse.value("select id from bi.m") == 3


@pytest.mark.parametrize("case", FINE)
def test_what_can_be_carried_is_not_refused(warehouse: Tables, case: str) -> None:
    warehouse.run(FINE[case])
    assert found(warehouse) == []


def test_a_role_that_may_not_create_schemas_is_refused_for_a_new_table_too(
    warehouse: Tables,
) -> None:
    warehouse.run("alter database warehouse owner to postgres", role=SUPERUSER)
    try:
        sentence = f"The role dbt may not create schemas in the database {WAREHOUSE}."
        assert found(warehouse) == [sentence]
        warehouse.session.execute("drop table s.t")
        assert found(warehouse) == [sentence]
    finally:
        warehouse.run("alter database warehouse owner to dbt", role=SUPERUSER)


def test_an_event_trigger_for_other_statements_is_no_obstacle(warehouse: Tables) -> None:
    warehouse.run(
        "create function s.f() returns event_trigger language plpgsql as 'begin end'",
        "create event trigger watch on ddl_command_end when tag in ('CREATE FUNCTION') "
        "execute function s.f()",
        "create event trigger asleep on ddl_command_start execute function s.f()",
        "alter event trigger asleep disable",
        role=SUPERUSER,
    )
    assert found(warehouse) == []


def test_a_view_that_is_swapped_too_need_not_be_replaced(warehouse: Tables) -> None:
    statements, _ = BY_SUPERUSER["a view of another owner"]
    warehouse.run(statements, role=SUPERUSER)
    assert found(warehouse, warehouse.oid("bi.v")) == []


def test_a_temporary_view_of_another_session_is_no_obstacle(warehouse: Tables) -> None:
    with warehouse.server.connect("dbt") as session:
        session.execute("create temporary view mine as select id from s.t")
        assert found(warehouse) == []


def test_the_view_of_a_member_s_role_is_no_obstacle(warehouse: Tables) -> None:
    statements, _ = BY_SUPERUSER["a view of another owner"]
    warehouse.run(statements, "grant analyst to dbt", role=SUPERUSER)
    try:
        assert found(warehouse) == []
    finally:
        warehouse.run("revoke analyst from dbt", role=SUPERUSER)
