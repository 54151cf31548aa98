"""The views on a relation, the columns of a query, and the preview, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.model.refresh import ColumnChange, Dependent
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.refresh import Part, RefreshRefused
from mage_dbt.warehouse.refresh.postgres import columns, dependents, properties
from mage_dbt.warehouse.refresh.postgres.carrying import carry
from mage_dbt.warehouse.refresh.postgres.dependents import View
from mage_dbt.warehouse.refresh.postgres.preview import preview
from tests.harness.database import Database
from tests.harness.tables import Tables, tables

T = Name("", "s", "t")


@pytest.fixture(scope="module", autouse=True)
def databases(postgres: Postgres) -> None:
    """New ones for this file."""


@pytest.fixture
def warehouse(server: Database) -> Iterator[Tables]:
    with tables(server, "s", "bi", "n", "o") as found:
        found.run(
            "create table s.t as select 1 as id, 2 as k, 'a'::text as w",
            "create table s.u as select 1 as id, 3 as q",
        )
        yield found


def views(warehouse: Tables, *relations: str) -> list[View]:
    oids = [warehouse.oid(relation) for relation in relations]
    return dependents.direct_views(warehouse.session, oids, oids)


def swap(warehouse: Tables, columns_of_new: str = "select 7 as id, 8 as k, 'b'::text as w") -> None:
    """What a swap does to a table and the views on it."""
    found = views(warehouse, "s.t")
    warehouse.run(f"create table n.t as {columns_of_new}")
    warehouse.run("alter table s.t set schema o; alter table n.t set schema s")
    with warehouse.session.qualified():
        for view in found:
            warehouse.session.execute(dependents.replaced(view, view.definition))


def test_the_views_on_a_table_are_found_outermost_first(warehouse: Tables) -> None:
    warehouse.run(
        "create view bi.inner as select id, k from s.t",
        "create view bi.between as select * from bi.inner",
        "create view bi.outer as select b.id, t.w from bi.between b join s.t using (id)",
        "create view bi.aside as select id from s.u",
        "create view bi.last as select t.id, u.q, o.w from s.t join s.u using (id) "
        "join bi.outer o using (id)",
    )
    found = views(warehouse, "s.t")
    assert [view.name.name for view in found] == ["last", "outer", "inner"]
    assert found[0].columns_of(warehouse.oid("s.t")) == ("id",)
    assert found[0].columns_of(warehouse.oid("s.u")) == ("id", "q")
    assert {view.name.name for view in views(warehouse, "s.u")} == {"last", "aside"}
    both = [view.name.name for view in views(warehouse, "s.t", "s.u")]
    assert len(both) == 4
    assert both.index("last") < both.index("outer") < both.index("inner")


def test_a_view_that_is_a_part_is_left_out_and_the_view_on_it_found(warehouse: Tables) -> None:
    warehouse.run(
        "create view bi.part as select id from s.t",
        "create view bi.above as select id from bi.part",
    )
    assert [view.name.name for view in views(warehouse, "s.t", "bi.part")] == ["above"]


def test_a_replaced_view_reads_the_new_table_and_keeps_all_it_has(warehouse: Tables) -> None:
    warehouse.run(
        "create view bi.v with (security_barrier, security_invoker = false) as "
        "select t.id, t.k + 1 as more, w from s.t where k > 0",
        "alter view bi.v alter id set default 5",
        "alter view bi.v rename column more to renamed",
        "create function s.f() returns trigger language plpgsql as 'begin return new; end'",
        "create trigger stamp instead of insert on bi.v for each row execute function s.f()",
        "create rule no_delete as on delete to bi.v do instead nothing",
        "comment on view bi.v is 'text'; comment on column bi.v.id is 'text'",
        "comment on trigger stamp on bi.v is 'text'",
        "grant select on bi.v to analyst with grant option; grant update (id) on bi.v to public",
        "create view bi.w as select renamed from bi.v",
    )
    name = Name("", "bi", "v")
    before, triggers = warehouse.read(name), warehouse.value("select count(*) from pg_trigger")
    swap(warehouse)
    after = warehouse.read(name)
    assert properties.differences(before, after) == []
    assert after == before
    assert {"CREATE TRIGGER", "CREATE RULE no"} <= {text[:14] for text in after.others}
    assert warehouse.value("select count(*) from pg_trigger") == triggers
    assert warehouse.rows("select * from bi.v") == [(7, 9, "b")]
    assert warehouse.rows("select * from bi.w") == [(9,)]


def test_a_replaced_view_keeps_its_check_option(warehouse: Tables) -> None:
    warehouse.run("create view bi.v as select id from s.t where id > 1 with cascaded check option")
    before = warehouse.read(Name("", "bi", "v"))
    swap(warehouse)
    assert warehouse.read(Name("", "bi", "v")) == before
    assert before.options == (("check_option", "cascaded"),)


def test_names_of_any_kind_are_written_so_that_they_mean_the_same(warehouse: Tables) -> None:
    long = "ß" * 31 + "x"
    warehouse.run(
        'create schema "Möbel ""x"""',
        f'create table s."{long}" as select 1 as "Größe ""m""", 2 as "%s"',
        f'create view "Möbel ""x""".{long} with (security_barrier) as '
        f'''select "Größe ""m""" as "A b", "%s", E'it''s \\\\ %' as w from s."{long}"''',
        "create table n.any as select 1 as x",
    )
    (found,) = views(warehouse, f's."{long}"')
    assert found.name == Name("", 'Möbel "x"', long)
    assert found.columns_of(warehouse.oid(f's."{long}"')) == ("%s", 'Größe "m"')
    with warehouse.session.qualified():
        warehouse.session.execute(dependents.replaced(found, found.definition))
        at = Name("", "n", "Ä")
        warehouse.session.execute(dependents.replaced(found, found.definition, at))
    assert warehouse.rows('select * from n."Ä"') == [(1, 2, "it's \\ %")]


def test_everything_that_depends_on_a_table_is_listed(warehouse: Tables) -> None:
    warehouse.run(
        "alter table s.t add primary key (id); create index on s.t (k)",
        "create statistics s.st on id, k from s.t",
        "create view bi.v as select id, w from s.t",
        "create materialized view bi.m as select id from bi.v",
        "create function bi.f(s.t) returns int language sql as 'select 1'",
        "create table bi.lines (t int references s.t)",
    )
    assert dependents.all_of(warehouse.session, warehouse.oid("s.t")) == [
        Dependent("function", "bi.f(s.t)", "dbt"),
        Dependent("table constraint", "lines_t_fkey on bi.lines", "", ("id",)),
        Dependent("view", "bi.v", "dbt", ("id", "w")),
        Dependent("materialized view", "bi.m", "dbt", (), direct=False),
    ]


POSITIONS = {
    "names for the columns of a table": (
        "select c1, c3 from s.t as x(c1, c2, c3)",
        "select 7 as id, 0 as more, 8 as k, 'b'::text as w",
    ),
    "names for the columns of a join": (
        "select j.* from (s.t join s.y on t.id = y.other) j",
        "select 7 as id, 8 as k, 'b'::text as w, 9 as more",
    ),
    "names for the first columns": (
        "select c1, k from s.t as x(c1)",
        "select 8 as k, 7 as id, 'b'::text as w",
    ),
}


@pytest.mark.parametrize("case", POSITIONS)
def test_a_view_that_names_columns_by_position_is_refused_when_they_move(
    warehouse: Tables, case: str
) -> None:
    view, query = POSITIONS[case]
    warehouse.run("create table s.y as select 1 as other, 2 as q", f"create view bi.v as {view}")
    # From now on two of the join's columns have one name.
    warehouse.run("alter table s.y rename q to k")
    warehouse.run("create table n.same as select * from s.t", f"create table n.t as {query}")
    live = warehouse.read(T)
    carry(live, warehouse.read(Name("", "n", "same")), Name("", "n", "same"))
    with pytest.raises(RefreshRefused, match=r"bi.*v.* names the columns of .* by their positions"):
        carry(live, warehouse.read(Name("", "n", "t")), Name("", "n", "t"))
    carry(
        live, warehouse.read(Name("", "n", "t")), Name("", "n", "t"), parts=[warehouse.oid("bi.v")]
    )


def test_a_column_at_the_end_moves_none_of_a_list_of_names(warehouse: Tables) -> None:
    warehouse.run("create view bi.v as select c1, c3 from s.t as x(c1, c2, c3)")
    swap(warehouse, "select 7 as id, 8 as k, 'b'::text as w, 9 as more")
    assert warehouse.rows("select * from bi.v") == [(7, "b")]


@pytest.mark.parametrize(
    "query",
    [
        "select x, id from s.t, unnest(array[k, id]) as a(x)",
        "select q.a from (select id, k from s.t) as q(a, b)",
        "select v.a, t.id from s.t join (values (1, 2)) as v(a, b) on v.a = t.id",
        "select t.id from s.t join lateral generate_series(1, t.k) as g(n) on true",
        "with c(a, b) as (select id, k from s.t) select a from c",
        "select count(*) filter (where k > 0) over (partition by id) from s.t",
        "select x.id from s.t as x left join s.u using (id)",
        """select ') j(' || w || ' s.t x(a)' as "s.t x(a)" from s.t""",
        "select id from s.t tablesample system (10)",
        "with recursive r(n) as (select id from s.t union all select n + 1 from r where n < 3) "
        "select n from r",
        "select a.id from s.t a where exists (select from s.u b where b.id = a.id) or (a.k in (1))",
    ],
)
def test_other_lists_of_names_do_not_depend_on_positions(warehouse: Tables, query: str) -> None:
    warehouse.run(f"create view bi.v as {query}")
    (view,) = views(warehouse, "s.t")
    assert not dependents.by_position(view, warehouse.oid("s.t"), ["id", "k", "w"], ["w", "id"])


def test_the_columns_of_a_query_are_told_without_running_it(warehouse: Tables) -> None:
    query = '''
        with x as (select 1 / 0 as never)
        select id, w, null as nothing, 1.5::numeric(8, 2) as price, now() as at,
            w like '100%' as "Größe ""m""", array['x'::varchar(3)] as many
        from s.t, x -- with a remark'''
    assert columns.of_query(warehouse.session, query) == [
        ("id", "integer"),
        ("w", "text"),
        ("nothing", "text"),
        ("price", "numeric(8,2)"),
        ("at", "timestamp with time zone"),
        ('Größe "m"', "boolean"),
        ("many", "character varying(3)[]"),
    ]
    assert warehouse.session.rows("select from pg_class where relname = 'mage_dbt_columns'") == []


def test_a_role_without_temporary_tables_is_told_the_columns_too(warehouse: Tables) -> None:
    warehouse.run(
        "alter database warehouse owner to postgres; "
        "grant connect, create on database warehouse to dbt",
        role=SUPERUSER,
    )
    try:
        query = "select id, k::bigint from s.t"
        assert columns.of_query(warehouse.session, query) == [("id", "integer"), ("k", "bigint")]
        assert not warehouse.session.rows(
            "select from pg_namespace where nspname = 'mage_dbt_columns'"
        )
    finally:
        warehouse.run("alter database warehouse owner to dbt", role=SUPERUSER)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("select * from s.not_yet", 'relation "s.not_yet" does not exist'),
        ("with x as (delete from s.t returning id) select * from x", "data-modifying"),
        ("select 1 as a, 2 as a", 'column "a" specified more than once'),
        ("selec", "syntax error"),
    ],
)
def test_why_columns_cannot_be_told_is_said(warehouse: Tables, query: str, reason: str) -> None:
    with pytest.raises(columns.CannotTell, match=reason):
        columns.of_query(warehouse.session, query)
    assert warehouse.session.rows("select count(*) as n from s.t") == [{"n": 1}]


def test_columns_are_compared_by_name(warehouse: Tables) -> None:
    before = [("id", "integer"), ("k", "integer"), ("w", "text")]
    after = [("w", "text"), ("id", "bigint"), ("more", "date")]
    changes = columns.changes(before, after)
    assert changes == (
        ColumnChange("more", "", "date"),
        ColumnChange("k", "integer", ""),
        ColumnChange("id", "integer", "bigint"),
    )
    assert columns.changes(before, [*reversed(before)]) == ()


PART = Part("model.t", "t", T, Name("", "mage_dbt_new_x", "t"))


def test_a_preview_says_what_would_change_and_what_stands_in_the_way(warehouse: Tables) -> None:
    warehouse.run(
        "create index on s.t (id); comment on table s.t is 'text'; analyze s.t",
        "create view bi.v as select id, w from s.t; create view bi.w as select id from bi.v",
        "create view bi.part as select w from s.t",
    )
    found = preview(
        warehouse.session,
        PART,
        "select 1 as id, 2::bigint as k, 3 as more",
        [warehouse.oid("s.t"), warehouse.oid("bi.part")],
    )
    assert (found.node, found.name, found.relation, found.exists) == ("model.t", "t", "s.t", True)
    assert [str(change) for change in found.columns] == [
        "+ more integer",
        "- w text",
        "k integer -> bigint",
    ]
    assert (found.rows, found.columns_unknown) == (1, "")
    assert found.bytes
    assert found.index_bytes == 16384
    assert [(one.name, one.columns, one.direct) for one in found.dependents] == [
        ("bi.part", ("w",), True),
        ("bi.v", ("id", "w"), True),
        ("bi.w", (), False),
    ]
    assert "comment" in found.carried
    assert "index t_id_idx" in found.carried
    assert [refusal.what for refusal in found.refusals] == [
        "The view bi.v uses w, which the model no longer has."
    ]
    assert "REFRESH_ROWS_PERCENT" in found.notes[0]


def test_a_preview_without_a_query_says_why_columns_are_unknown(warehouse: Tables) -> None:
    warehouse.run("create view bi.v as select w from s.t")
    found = preview(warehouse.session, PART, "select * from s.not_yet")
    assert (found.columns, found.refusals) == ((), ())
    assert found.columns_unknown == 'relation "s.not_yet" does not exist'
    assert found.rows is None, "nobody has counted them yet"


def test_a_preview_of_a_new_table_names_its_columns(warehouse: Tables) -> None:
    warehouse.run("drop table s.t")
    found = preview(warehouse.session, PART, "select 1 as id")
    assert not found.exists
    assert found.columns == (ColumnChange("id", "", "integer"),)
    assert (found.rows, found.bytes, found.dependents, found.refusals) == (None, None, (), ())


def test_free_disk_is_told_only_to_who_may_know_where_the_data_is(warehouse: Tables) -> None:
    query = "select 1 as id"
    assert preview(warehouse.session, PART, query).free_bytes is None
    warehouse.run("grant pg_read_all_settings to dbt", role=SUPERUSER)
    try:
        free = preview(warehouse.session, PART, query).free_bytes
        assert free is not None
        assert free > 0
    finally:
        warehouse.run("revoke pg_read_all_settings from dbt", role=SUPERUSER)


def test_temporary_views_of_open_sessions_are_named_in_the_preview(warehouse: Tables) -> None:
    with warehouse.server.connect("dbt", WAREHOUSE) as session:
        session.execute("create temporary view mine as select id from s.t")
        found = preview(warehouse.session, PART, "select 1 as id")
    assert "1 temporary view of open sessions will go on reading the former rows." in found.notes
    assert found.refusals == ()
