"""What a relation has besides its rows, and how another one gets it, on a real PostgreSQL."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.launcher.postgres import Postgres, binaries
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.refresh import RefreshRefused
from mage_dbt.warehouse.refresh.postgres import properties
from mage_dbt.warehouse.refresh.postgres.carrying import Carried, carry
from mage_dbt.warehouse.refresh.postgres.relation import Properties
from tests.harness.database import Database
from tests.harness.tables import Tables, tables

LIVE, NEW = 'Läden "EU"', "mage_dbt_new_20260102_030405_abcdef"
LONG = "ä" * 31 + "x"
"""63 bytes."""

DBT_INDEX, NEXT_DBT_INDEX = "0123456789abcdef" * 2, "fedcba9876543210" * 2

SOURCE = f'''
    select i as id, 'name ' || i as "Näme ""x""", i % 7 as k, i * 1.5 as amount,
        int4range(i, i + 1) as period, now() as at, to_tsvector('simple', 'a b') as words,
        'x'::text as {LONG}
    from generate_series(1, 200) i
'''

TABLE = f'{quoted(LIVE)}."T ""1"""'

EVERYTHING = f'''
alter table {TABLE} alter at set default now();
alter table {TABLE} alter k set default 3;
alter table {TABLE} alter amount set not null;
alter table {TABLE} alter "Näme ""x""" set storage external;
alter table {TABLE} alter {LONG} set compression pglz;
alter table {TABLE} alter k set statistics 500;
alter table {TABLE} alter k set (n_distinct = -0.5, n_distinct_inherited = 7);
alter table {TABLE} set (fillfactor = 70, autovacuum_enabled = false, parallel_workers = 2);
alter table {TABLE} set (toast.autovacuum_vacuum_scale_factor = 0.25);
alter table {TABLE} add constraint "T ""1""_pkey" primary key (id) include (k)
    with (fillfactor = 50);
alter table {TABLE} add constraint late unique (amount, id) deferrable initially deferred;
alter table {TABLE} add constraint same unique nulls not distinct (id, k);
alter table {TABLE} add constraint apart exclude using gist (period with &&) where (k > 0);
alter table {TABLE} add constraint positive check (k >= 0) not valid;
alter table {TABLE} add constraint own check (id > 0) no inherit;
alter table {TABLE} add column twice numeric generated always as (amount * 2) stored;
create index {LONG} on {TABLE} (lower("Näme ""x""") collate "C" text_pattern_ops desc nulls last)
    include (k, at) with (fillfactor = 60, deduplicate_items = off) where k > 2;
create unique index unlike_a_constraint on {TABLE} (id) where k = 1;
create unique index identity_of_it on {TABLE} (amount, id) nulls not distinct;
create index on {TABLE} using gin (words) with (fastupdate = off);
create index on {TABLE} using brin (at) with (pages_per_range = 4, autosummarize = on);
create index on {TABLE} using hash (k);
create index elsewhere on {TABLE} ((amount + k), (k * 2)) tablespace other_disk;
alter index {quoted(LIVE)}.elsewhere alter column 1 set statistics 900;
create index "{DBT_INDEX}" on {TABLE} (k, at);
create statistics {quoted(LIVE)}."St ""1""" (dependencies, mcv) on id, k from {TABLE};
create statistics {quoted(LIVE)}.of_one on (amount / 2) from {TABLE};
create statistics {quoted(LIVE)}.of_more on k, (amount * id), at from {TABLE};
alter statistics {quoted(LIVE)}.of_more set statistics 77;
alter table {TABLE} cluster on identity_of_it;
alter table {TABLE} replica identity using index identity_of_it;
comment on table {TABLE} is E'It''s \\\\ 100% ""of them""';
comment on column {TABLE}."Näme ""x""" is 'a name';
comment on column {TABLE}.twice is 'two of them';
comment on constraint positive on {TABLE} is 'not less';
comment on constraint late on {TABLE} is 'later';
comment on index {quoted(LIVE)}.elsewhere is 'an index';
comment on index {quoted(LIVE)}.late is 'the index of a constraint';
comment on statistics {quoted(LIVE)}.of_more is 'more';
grant select on {TABLE} to analyst with grant option;
grant insert, trigger on {TABLE} to "Röle ""1""";
grant references on {TABLE} to public;
grant select ("Näme ""x""", id), update (k) on {TABLE} to "Röle ""1""" with grant option;
grant select (twice) on {TABLE} to public;
revoke truncate on {TABLE} from dbt;
alter table {TABLE} set tablespace other_disk;
'''


@pytest.fixture(scope="module", autouse=True)
def roles(postgres: Postgres, server: Database) -> None:
    with server.connect(SUPERUSER, WAREHOUSE) as superuser:
        superuser.execute("set allow_in_place_tablespaces = on")
        found = superuser.execute("select from pg_tablespace where spcname = 'other_disk'")
        if not found.fetchall():
            superuser.execute("create tablespace other_disk location ''")
        superuser.execute("grant create on tablespace other_disk to dbt")
        for role in ('"Röle ""1"""', "owners"):
            found = superuser.execute(
                f"select from pg_roles where quote_ident(rolname) = '{role}'".encode()
            )
            if not found.fetchall():
                superuser.execute(f"create role {role}".encode())
        superuser.execute("grant owners to dbt")


@pytest.fixture
def warehouse(server: Database) -> Iterator[Tables]:
    with tables(server, quoted(LIVE), NEW, "s") as found:
        yield found


def carried(
    warehouse: Tables, live: Name, incoming: Name, exact: bool = False
) -> tuple[Properties, Properties, Carried]:
    """Gives the second relation what the first one has; returns both as they are then."""
    before = warehouse.read(live)
    how = carry(before, warehouse.read(incoming), incoming, exact)
    for statement in how.statements:
        warehouse.session.execute(statement)
    return before, warehouse.read(incoming), how


def comparable(found: Properties) -> Properties:
    """Without what two relations at two places cannot have both."""
    statistics = tuple(replace(one, name=replace(one.name, schema="")) for one in found.statistics)
    return replace(found, oid=0, name=Name("", "", ""), statistics=statistics, views=())


def dumped(server: Database, schema: str) -> list[str]:
    """What pg_dump writes of this schema, with a word in the place of its name."""
    program = Path(binaries()) / "pg_dump"
    done = subprocess.run(
        [program, "--schema-only", f"--schema={quoted(schema)}", server.url("dbt", WAREHOUSE)],
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout.replace(quoted(schema), "SCHEMA").replace(schema, "SCHEMA")
    ours = [line for line in text.splitlines() if not line.startswith(("\\", "-- Dumped"))]
    return [line for line in ours if "SCHEMA SCHEMA" not in line]


def test_a_new_table_gets_every_property_of_the_live_one(
    warehouse: Tables, server: Database
) -> None:
    warehouse.run(f"create table {TABLE} as {SOURCE}", EVERYTHING)
    live, incoming = (Name("", schema, 'T "1"') for schema in (LIVE, NEW))
    warehouse.run(
        f"create table {incoming} as {SOURCE}",
        f'create index "{NEXT_DBT_INDEX}" on {incoming} (k, at)',
    )
    before, after, how = carried(warehouse, live, incoming)

    assert how.notes == ()
    assert comparable(after) == comparable(before)
    assert properties.differences(comparable(before), comparable(after)) == []
    assert dumped(server, NEW) == dumped(server, LIVE)

    _, _, again = carried(warehouse, live, incoming)
    assert again == Carried((), ())


def test_what_only_the_newest_server_has_is_carried_too(
    warehouse: Tables, server: Database
) -> None:
    warehouse.run(
        f"create table {TABLE} (id int, k int, w int, place int4range, valid daterange)",
        f"alter table {TABLE} add constraint some_id not null id no inherit",
        f"alter table {TABLE} add constraint later not null w not valid",
        f"alter table {TABLE} add constraint hope check (k > 0) not enforced",
        f"alter table {TABLE} add constraint never_twice unique (place, valid without overlaps)",
        f"alter table {TABLE} add column twice int generated always as (k * 2) virtual",
        f"comment on constraint some_id on {TABLE} is 'text'",
    )
    live, incoming = (Name("", schema, 'T "1"') for schema in (LIVE, NEW))
    warehouse.run(
        f"create table {incoming} (id int, k int, w int, place int4range, valid daterange)"
    )
    before, after, how = carried(warehouse, live, incoming)
    assert how.notes == ()
    assert comparable(after) == comparable(before)
    assert dumped(server, NEW) == dumped(server, LIVE)


def test_what_is_there_already_is_not_made_twice_and_stays_the_models(warehouse: Tables) -> None:
    warehouse.run(
        "create table s.t as select 1 as id, 2 as k",
        "create index by_hand on s.t (k)",
        "create index of_a_hook on s.t (k)",
        "alter table s.t add constraint named_by_hand primary key (id)",
        "alter table s.t add constraint few check (k < 10)",
        "comment on table s.t is 'old'; comment on column s.t.id is 'old'",
        "alter table s.t set (fillfactor = 50)",
        f"create table {NEW}.t as select 1 as id, 2 as k",
        f"create index of_a_hook on {NEW}.t (id, k)",
        f'create index "{NEXT_DBT_INDEX}" on {NEW}.t (k)',
        f"alter table {NEW}.t add primary key (id); alter table {NEW}.t add check (k < 10)",
        f"comment on table {NEW}.t is 'new'; alter table {NEW}.t set (fillfactor = 90)",
    )
    _, after, how = carried(warehouse, Name("", "s", "t"), Name("", NEW, "t"))

    assert [index.name for index in after.indexes] == ["by_hand", "named_by_hand", "of_a_hook"]
    assert {"few", "named_by_hand"} <= {con.name for con in after.constraints}
    assert after.comment == "new"
    assert after.columns[0].comment == "old"
    assert after.options == (("fillfactor", "90"),)
    assert how.notes == ("The index of_a_hook is the one that the model makes.",)


def test_what_uses_a_column_that_goes_away_goes_with_it_and_is_named(warehouse: Tables) -> None:
    warehouse.run(
        "create table s.t as select 1 as id, 2 as gone, 3 as also",
        "create index of_gone on s.t (id) where gone > 0",
        "alter table s.t add constraint pair check (gone < also)",
        "alter table s.t add constraint key primary key (gone)",
        "create statistics s.of_both on gone, also from s.t",
        "alter table s.t cluster on key",
        f'create index "{DBT_INDEX}" on s.t (id)',
        f"create table {NEW}.t as select 1 as id",
    )
    _, after, how = carried(warehouse, Name("", "s", "t"), Name("", NEW, "t"))

    assert (after.indexes, after.constraints, after.statistics) == ((), (), ())
    text = "\n".join(how.notes)
    for sentence in (
        "The index of_gone is not made again: it uses gone, which goes away.",
        "The check constraint pair is not made again: it uses gone, also, which go away.",
        "The primary key key is not made again: it uses gone, which goes away.",
        "The statistics of_both is not made again: it uses gone, also, which go away.",
        "The mark for CLUSTER is lost with the index key.",
        f"The index {DBT_INDEX} (btree (id)) is not made again: dbt made it, and the model no "
        "longer has it.",
    ):
        assert sentence in text


def test_a_right_taken_from_the_default_ones_is_taken_from_the_new_table(warehouse: Tables) -> None:
    warehouse.run(
        "alter default privileges for role dbt grant insert on tables to analyst",
        'grant usage on schema s to "Röle ""1"""',
        "create table s.t as select 1 as id",
        "revoke insert, select on s.t from analyst",
        "alter default privileges for role dbt revoke insert on tables from analyst",
        "alter default privileges for role dbt grant insert on tables to analyst",
        f"create table {NEW}.t as select 1 as id",
        f'grant select on {NEW}.t to "Röle ""1"""',
    )
    try:
        _, after, _ = carried(warehouse, Name("", "s", "t"), Name("", NEW, "t"))
    finally:
        warehouse.run("alter default privileges for role dbt revoke insert on tables from analyst")
    rights = {(one.grantee, one.privilege) for one in after.grants if one.grantee != "dbt"}
    assert rights == {('Röle "1"', "select")}, "the model's own grant stays"


def test_a_former_table_gets_exactly_the_rights_of_the_present_one(warehouse: Tables) -> None:
    warehouse.run(
        "create table s.t as select 1 as id, 2 as k",
        'grant update (k) on s.t to "Röle ""1"""',
        f"create table {NEW}.t as select 1 as id, 2 as k",
        f'grant select, delete on {NEW}.t to "Röle ""1""" with grant option',
        f'grant update (id) on {NEW}.t to "Röle ""1"""',
    )
    before, after, _ = carried(warehouse, Name("", "s", "t"), Name("", NEW, "t"), exact=True)
    assert after.grants == before.grants
    assert [column.grants for column in after.columns] == [
        column.grants for column in before.columns
    ]


def test_the_owner_is_kept_where_dbt_is_its_member(warehouse: Tables) -> None:
    warehouse.run(
        "grant usage, create on schema s to owners",
        "create table s.t as select 1 as id, 2 as k",
        "create statistics s.st on id, k from s.t",
        "grant select on s.t to analyst",
        "alter table s.t owner to owners",
        "alter statistics s.st owner to owners",
        f"create table {NEW}.t as select 1 as id, 2 as k",
    )
    before, after, _ = carried(warehouse, Name("", "s", "t"), Name("", NEW, "t"))
    assert after.owner == "owners"
    assert comparable(after) == comparable(before)
    may = "select has_schema_privilege('owners', '{}', 'create')"
    assert warehouse.value(may.format(NEW)) is False


def test_a_grant_of_somebody_else_becomes_the_owners_and_is_named(warehouse: Tables) -> None:
    warehouse.run(
        "grant usage on schema s to analyst",
        "create table s.t as select 1 as id",
        "grant select on s.t to analyst with grant option",
        f"create table {NEW}.t as select 1 as id",
    )
    warehouse.run(
        "set default_transaction_read_only = off",
        'grant select on s.t to "Röle ""1"""',
        role="analyst",
    )
    _, after, how = carried(warehouse, Name("", "s", "t"), Name("", NEW, "t"))
    assert ('Röle "1"', "select", "dbt") in {
        (one.grantee, one.privilege, one.grantor) for one in after.grants
    }
    assert how.notes == (
        'What others have granted is granted by the owner now: select for Röle "1" by analyst.',
    )


def test_a_generated_column_that_the_model_fills_itself_is_refused(warehouse: Tables) -> None:
    warehouse.run(
        "create table s.t (id int, twice int generated always as (id * 2) stored)",
        f"create table {NEW}.t as select 1 as id, 2 as twice",
    )
    with pytest.raises(RefreshRefused, match="twice .* is a generated one"):
        carried(warehouse, Name("", "s", "t"), Name("", NEW, "t"))


def test_a_view_gets_every_property_of_the_live_one(warehouse: Tables) -> None:
    warehouse.run(
        "create table s.t as select 1 as id, 2 as k",
        "create view s.v with (security_barrier, security_invoker) as select id, k from s.t "
        "where k > 1 with local check option",
        "alter view s.v alter k set default 7",
        "comment on view s.v is 'a view'; comment on column s.v.k is 'its k'",
        'grant select on s.v to "Röle ""1"""; grant update (k) on s.v to analyst',
        f"create view {NEW}.v as select id, k from s.t where k > 1",
    )
    before, after, how = carried(warehouse, Name("", "s", "v"), Name("", NEW, "v"))
    assert how.notes == ()
    assert comparable(after) == comparable(before)
    assert dict(after.options) == {
        "check_option": "local",
        "security_barrier": "true",
        "security_invoker": "true",
    }


def test_a_table_that_becomes_a_view_names_what_a_view_cannot_have(warehouse: Tables) -> None:
    warehouse.run(
        "create table s.t as select 1 as id",
        "create index by_hand on s.t (id); comment on table s.t is 'text'",
        "grant select on s.t to analyst",
        f"create view {NEW}.t as select 1 as id",
    )
    _, after, how = carried(warehouse, Name("", "s", "t"), Name("", NEW, "t"))
    assert after.comment == "text"
    assert how.notes == ("A view has no indexes: by_hand are not made again.",)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("alter table s.t add column more int", "The column more is new."),
        ("alter table s.t alter k type bigint", "The column k was changed."),
        ("alter table s.t rename k to l", "The column k is gone."),
        ("alter table s.t alter k set not null", "The column k was changed."),
        ("grant update on s.t to analyst", "update for analyst is new."),
        ("grant update (k) on s.t to analyst", "The column k was changed."),
        ("revoke select on s.t from analyst", "select for analyst is gone."),
        ("create index more on s.t (k)", "The index more is new."),
        ("drop index s.one", "The index one is gone."),
        ("alter index s.one rename to two", "The index two is new."),
        ("alter table s.t add constraint c check (k > 0)", "The constraint c is new."),
        ("create statistics s.st on id, k from s.t", 'The statistics "s"."st" is new.'),
        ("alter table s.t set (fillfactor = 50)", "fillfactor=50 is new."),
        ("comment on table s.t is 'other'", "The comment was changed: none -> other."),
        ("comment on column s.t.k is 'other'", "The column k was changed."),
        ("alter table s.t owner to owners", "The owner was changed: dbt -> owners."),
        ("alter table s.t replica identity full", "The replica identity was changed"),
        ("alter table s.t cluster on one", "The cluster was changed: none -> one."),
        ("alter table s.t set unlogged", "The persistence was changed: p -> u."),
        ("create view s.w as select id from s.t", 'The view "s"."w" is new.'),
        ("create or replace view s.v as select 2 as id from s.t", 'The view "s"."v" was changed.'),
        ("create table s.u (t s.t)", "column t of table s.u is new."),
        ("create rule r as on delete to s.t do also nothing", "CREATE RULE r"),
        ("alter table s.t enable row level security", "row_security is new."),
        ("drop view s.v; drop table s.t; create table s.t as select 1 as id", "another relation"),
    ],
)
def test_a_change_by_somebody_else_is_noticed_and_named(
    warehouse: Tables, statement: str, sentence: str
) -> None:
    warehouse.run(
        "grant create on schema s to owners",
        "create table s.t as select 1 as id, 2 as k",
        "create index one on s.t (id); create view s.v as select id from s.t",
        "grant select on s.t to analyst",
    )
    before = warehouse.read(Name("", "s", "t"))
    warehouse.run("vacuum analyze s.t", "insert into s.t values (3, 4)")
    assert warehouse.read(Name("", "s", "t")) == before
    warehouse.run(statement)
    now = warehouse.read(Name("", "s", "t"))
    assert now != before
    assert sentence in " ".join(properties.differences(before, now))


def test_a_truncated_table_is_told_by_its_file(warehouse: Tables) -> None:
    warehouse.run("create table s.t as select 1 as id")
    before = warehouse.read(Name("", "s", "t"))
    warehouse.run("truncate s.t")
    now = warehouse.read(Name("", "s", "t"))
    assert now == before
    assert now.filenode != before.filenode


def test_what_is_built_aside_on_the_live_table_is_no_change_of_it(warehouse: Tables) -> None:
    warehouse.run("create table s.t as select 1 as id")
    before = warehouse.read(Name("", "s", "t"))
    warehouse.run(f"create view {NEW}.v as select id from s.t")
    assert warehouse.read(Name("", "s", "t")) == before


def test_what_is_carried_is_said_in_phrases(warehouse: Tables) -> None:
    warehouse.run(f"create table {TABLE} as {SOURCE}", EVERYTHING)
    found = properties.phrases(warehouse.read(Name("", LIVE, 'T "1"')))
    assert {
        "owner dbt",
        "comment",
        'comments of Näme "x", twice',
        "select with grant option for analyst",
        'update (k) with grant option for Röle "1"',
        "references for public",
        "index elsewhere",
        'primary key T "1"_pkey',
        "exclusion constraint apart",
        "expression of twice",
        "fillfactor=70",
        "toast.autovacuum_vacuum_scale_factor=0.25",
        "statistics of_more",
        "replica identity index identity_of_it",
        "clustered on identity_of_it",
        "tablespace other_disk",
    } <= {*found}


def test_a_name_under_which_nothing_stands_has_no_properties(warehouse: Tables) -> None:
    assert properties.read(warehouse.session, Name("", "s", "nothing")) is None
    assert properties.read(warehouse.session, Name("", "nowhere", "nothing")) is None
