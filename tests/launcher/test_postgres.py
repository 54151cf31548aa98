"""The embedded PostgreSQL: real binaries, real roles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mage_dbt.base.database_url import with_schema
from mage_dbt.errors import MachineError, SettingError
from mage_dbt.home import Home
from mage_dbt.launcher.database_roles import prepare_given
from mage_dbt.launcher.postgres import Postgres
from tests.harness.database import Database, started


def ask(server: Database, role: str, database: str, sql: str, password: str | None = None) -> str:
    """The first value of the answer, or the error's SQLSTATE class name."""
    secret = server.home.secrets / f"postgres-{role}"
    try:
        with psycopg.connect(
            host="127.0.0.1",
            port=server.port,
            user=role,
            dbname=database,
            password=secret.read_text() if password is None else password,
            autocommit=True,
        ) as connection:
            cursor = connection.execute(sql.encode())
            row = cursor.fetchone() if cursor.description else None
            return str(row[0]) if row else "done"
    except psycopg.Error as error:
        return type(error).__name__


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The file's own: its tests stop it and change what others find in it."""
    with started(tmp_path_factory.mktemp("postgres") / "home") as found:
        found.prepare()
        yield found


def test_nobody_gets_in_without_the_password(server: Database) -> None:
    for role in ("mage", "runner", "dbt", "analyst", "superuser"):
        user = "postgres" if role == "superuser" else role
        assert ask(server, user, "workspace", "select 1", password="wrong") == "OperationalError"


def test_mage_and_the_runner_have_schemas_of_their_own(server: Database) -> None:
    assert ask(server, "mage", "workspace", "select current_schema()") == "mage"
    assert ask(server, "runner", "workspace", "select current_schema()") == "ledger"
    assert ask(server, "mage", "workspace", "create table later (id int)") == "done"
    assert ask(server, "runner", "workspace", "select count(*) from mage.later") == "0"
    refused = ask(server, "runner", "workspace", "insert into mage.later values (1)")
    assert refused == "InsufficientPrivilege"
    assert ask(server, "mage", "workspace", "create table ledger.mine (id int)") == (
        "InsufficientPrivilege"
    )


def test_only_dbt_writes_to_the_warehouse(server: Database) -> None:
    for sql in ("create schema marts", "create table marts.orders as select 1 as id"):
        assert ask(server, "dbt", "warehouse", sql) == "done"
    assert ask(server, "analyst", "warehouse", "select id from marts.orders") == "1"
    assert ask(server, "analyst", "warehouse", "delete from marts.orders") in (
        "ReadOnlySqlTransaction",
        "InsufficientPrivilege",
    )
    for role in ("mage", "runner"):
        assert ask(server, role, "warehouse", "select 1") == "OperationalError"


def test_a_notebook_reads_what_dbt_builds_and_changes_nothing(server: Database) -> None:
    for sql in ("create schema later", "create table later.orders as select 7 as id"):
        assert ask(server, "dbt", "warehouse", sql) == "done"
    assert ask(server, "analyst", "warehouse", "select id from later.orders") == "7"
    for sql in (
        "delete from later.orders",
        "insert into later.orders values (1)",
        "truncate later.orders",
        "drop table later.orders",
        "create table later.mine (id int)",
        "create table public.mine (id int)",
        "create temporary table mine (id int)",
        "create schema mine",
        "select lo_create(0)",
        "select lo_from_bytea(0, 'x')",
        "copy later.orders to program 'id'",
        "alter role analyst superuser",
        "set role dbt",
    ):
        # Read only is a setting of the session's, so it is the rights that have to refuse.
        refused = ask(server, "analyst", "warehouse", f"set transaction_read_only = off; {sql}")
        assert refused == "InsufficientPrivilege", sql
    assert ask(server, "dbt", "warehouse", "select count(*) from later.orders") == "1"


def test_a_notebook_sees_no_other_database(server: Database) -> None:
    for database in ("workspace", "postgres", "template1"):
        assert ask(server, "analyst", database, "select 1") == "OperationalError"
    for table in ("mage.users", "ledger.run", "queue.entry"):
        assert ask(server, "analyst", "warehouse", f"select 1 from {table}") == "UndefinedTable"


def test_a_notebook_that_is_left_open_does_not_hold_up_the_build(server: Database) -> None:
    shown = "show idle_in_transaction_session_timeout"
    assert ask(server, "analyst", "warehouse", shown) == "1min"
    assert ask(server, "analyst", "warehouse", "show statement_timeout") == "10min"
    assert ask(server, "analyst", "warehouse", "set temp_file_limit = '9GB'") == (
        "InsufficientPrivilege"
    )


def test_preparing_twice_changes_nothing(server: Database) -> None:
    server.prepare()
    assert ask(server, "mage", "workspace", "select 1") == "1"


def test_raw_data_is_loaded_once_or_not_at_all(server: Database, tmp_path: Path) -> None:
    file = tmp_path / "raw.sql"
    file.write_text("create schema raw; create table raw.orders (id int); select broken;")
    with pytest.raises(psycopg.Error):
        server.postgres.load_demo(file)
    assert ask(server, "dbt", "warehouse", "select to_regnamespace('raw')") == "None"
    file.write_text("create schema raw; create table raw.orders (id int);")
    assert server.postgres.load_demo(file)
    assert not server.postgres.load_demo(file)


def test_durability_is_on_and_only_loopback_is_listened_to(server: Database) -> None:
    assert ask(server, "dbt", "warehouse", "show fsync") == "on"
    assert ask(server, "dbt", "warehouse", "show synchronous_commit") == "on"
    assert ask(server, "dbt", "warehouse", "show listen_addresses") == "127.0.0.1"
    password = (server.home.secrets / "postgres-superuser").read_text()
    socket = ask(server, "postgres", "postgres", "show unix_socket_directories", password)
    assert socket == ""


def test_a_given_database_gets_both_schemas(server: Database) -> None:
    superuser = (server.home.secrets / "postgres-superuser").read_text()
    url = f"postgresql://postgres:{superuser}@127.0.0.1:{server.port}/postgres"
    prepare_given(url)
    prepare_given(url)
    for schema in ("mage", "ledger"):
        with psycopg.connect(with_schema(url, schema)) as connection:
            assert connection.execute("select current_schema()").fetchone() == (schema,)


def test_a_given_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(SettingError, match="WORKSPACE_DATABASE_URL") as caught:
        prepare_given("postgresql://kim:hush-hush@127.0.0.1:9/workspace")
    assert "hush-hush" not in str(caught.value)


def test_options_a_url_already_has_are_kept() -> None:
    url = with_schema("postgresql://h/d?sslmode=require&options=-c%20jit%3Doff", "ledger")
    assert url == (
        "postgresql://h/d?sslmode=require&options=-c%20jit%3Doff%20-c%20search_path%3Dledger%20-c%20timezone%3DUTC"
    )


def test_data_of_another_major_version_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.postgres.mkdir()
    (home.postgres / "PG_VERSION").write_text("15\n")
    with pytest.raises(MachineError, match="is of PostgreSQL 15"):
        Postgres(home, 1).prepare()
    assert (home.postgres / "PG_VERSION").exists()


def test_what_a_killed_initdb_left_is_made_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    half = home.root / "postgres.new"
    half.mkdir(parents=True)
    (half / "half").write_text("")
    Postgres(home, 1).prepare()
    assert (home.postgres / "PG_VERSION").exists()
    assert not (home.postgres / "half").exists()
    assert not half.exists()
    assert list(home.root.glob(".initdb-*")) == []
