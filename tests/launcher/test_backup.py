"""A backup is proved when it is made, and brings everything back; migrations go up and back."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mage_dbt.base.database_url import with_schema
from mage_dbt.errors import MachineError, SettingError
from mage_dbt.home import Home
from mage_dbt.launcher import lock
from mage_dbt.launcher.backup import backup, keep
from mage_dbt.launcher.database import Database, count, opened
from mage_dbt.launcher.restore import restore
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.ledger.migrate import listed, roll_back
from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from mage_dbt.settings import Settings
from tests.harness.ports import free_ports

ROWS = "select to_jsonb(t) from {} as t order by to_jsonb(t)::text"

CATALOG = """
with ours as (select oid from pg_namespace where nspname in ('ledger', 'line', 'queue'))
select 'relation', relnamespace::regnamespace::text, relname, relowner::regrole::text,
    (select array_agg(format('%s %s', attname, atttypid::regtype) order by attnum)
        from pg_attribute where attrelid = pg_class.oid and attnum > 0 and not attisdropped)
from pg_class where relnamespace in (select oid from ours) and relname not like '%yoyo%'
union all
select 'constraint', connamespace::regnamespace::text, conname, pg_get_constraintdef(oid), null
from pg_constraint where connamespace in (select oid from ours) and conname not like '%yoyo%'
union all
select 'function', pronamespace::regnamespace::text, proname, pg_get_functiondef(oid), null
from pg_proc where pronamespace in (select oid from ours)
union all
select 'trigger', tgrelid::regclass::text, tgname, '', null
from pg_trigger where not tgisinternal
    and tgrelid in (select oid from pg_class where relnamespace in (select oid from ours))
union all
select 'comment', objoid::text, objsubid::text, description, null
from pg_description where classoid = 'pg_class'::regclass
    and objoid in (select oid from pg_class where relnamespace in (select oid from ours))
order by 1, 2, 3
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("backup")
    environ = {"WORKSPACE_HOME": str(root / "home"), "POSTGRES_PORT": str(free_ports(1)[0])}
    return Settings.load(environ, root / "no.env")


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    """A workspace that is stopped: its server runs for the one who looks after it."""
    home = Home(settings.workspace_home)
    home.root.mkdir()
    with opened(settings, home, alone=True) as found:
        found.bring_up_to_date()
        yield found


def add_run(database: Database, name: str) -> None:
    url = database.postgres.url("runner") if database.postgres else database.owner_url
    ledger = Ledger(url)
    ledger.open()
    new = NewRun(
        id=name,
        asked_at=datetime.now(UTC),
        request=Request.parse({"cause": "tool", "caller": "kim"}),
        key=f"key of {name}",
        commit="c" * 40,
        commit_subject="Begin",
        target="prod",
        dbt_version="1",
        follows=None,
        morning=None,
        late_seconds=0,
    )
    ledger.add_run(new)
    ledger.state(name, RunState.SUCCESS)
    ledger.close()


def pause(database: Database, by: str) -> None:
    """Somebody pauses the daily build, as the runner's role writes it down."""
    url = database.postgres.url("runner") if database.postgres else database.owner_url
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into ledger.schedule (by, why, zone, paused)"
            " values (%s, 'a test', 'UTC', true)",
            [by],
        )


def rows(database: Database) -> dict[str, int]:
    with database.connect() as connection:
        return count(connection)


def contents(database: Database) -> dict[str, list[Any]]:
    """The rows of every table, but for what yoyo keeps."""
    with database.connect() as connection:
        return {
            name: [row for (row,) in connection.execute(ROWS.format(name).encode()).fetchall()]
            for name in count(connection)
            if "yoyo" not in name
        }


def catalog(database: Database) -> list[Any]:
    """Every table's columns, every index, sequence, function and trigger of the workspace's."""
    with database.connect() as connection:
        return connection.execute(CATALOG).fetchall()


def test_a_backup_brings_everything_back_and_later_rows_are_gone(
    database: Database, tmp_path: Path
) -> None:
    with database.connect() as connection:
        connection.execute("create table if not exists mage.pipeline_run (id int)")
        connection.execute("insert into mage.pipeline_run values (1), (2)")
    add_run(database, "20261101-080000-00000a")
    pause(database, "Ana")
    file = tmp_path / "today.dump"
    before = backup(database, file)
    paused = contents(database)["ledger.schedule"]
    assert before == rows(database)
    assert before["ledger.run"] >= 1 and before["mage.pipeline_run"] >= 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["today.dump"]
    add_run(database, "20261101-080000-00000b")
    pause(database, "Otto")
    assert rows(database)["ledger.run"] == before["ledger.run"] + 1
    assert restore(database, file) == before
    assert rows(database) == before
    assert contents(database)["ledger.schedule"] == paused
    with database.connect() as connection:
        left = "select 1 from pg_database where datname like 'verify%'"
        assert connection.execute(left).fetchall() == []


def test_after_a_restore_the_runner_adds_to_history_and_cannot_change_it(
    database: Database, tmp_path: Path
) -> None:
    backup(database, tmp_path / "a.dump")
    restore(database, tmp_path / "a.dump")
    add_run(database, "20261101-080000-00000c")
    assert database.postgres is not None
    with (
        psycopg.connect(database.postgres.url("runner")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("delete from ledger.run")


def test_a_damaged_backup_changes_nothing(database: Database, tmp_path: Path) -> None:
    add_run(database, "20261101-080000-00000d")
    file = tmp_path / "a.dump"
    before = backup(database, file)
    whole = file.read_bytes()
    for damaged in (b"", b"no backup", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(MachineError):
            restore(database, file)
        assert rows(database) == before


def test_a_backup_that_cannot_be_written_leaves_nothing(database: Database, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="There is no folder"):
        backup(database, tmp_path / "missing" / "a.dump")
    gone = replace(database, url=database.url.replace("/workspace", "/nowhere"))
    with pytest.raises((MachineError, psycopg.Error)):
        backup(gone, tmp_path / "a.dump")
    assert list(tmp_path.iterdir()) == []


def test_the_newest_backups_are_kept(tmp_path: Path) -> None:
    for day in range(1, 6):
        (tmp_path / f"workspace-2026110{day}T000000Z.dump").write_text("")
    (tmp_path / "mine.dump").write_text("")
    keep(tmp_path, 2)
    left = sorted(one.name for one in tmp_path.iterdir())
    assert left == [
        "mine.dump",
        "workspace-20261104T000000Z.dump",
        "workspace-20261105T000000Z.dump",
    ]


def test_nothing_is_restored_into_a_workspace_that_runs(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    with (
        pytest.raises(MachineError, match="already started"),
        opened(settings, Home(settings.workspace_home), alone=True),
    ):
        pass
    with (
        psycopg.connect(database.url, application_name="a runner"),
        pytest.raises(MachineError, match="in use by a runner"),
    ):
        database.require_alone()


def test_a_database_of_yours_is_backed_up_and_restored(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        connection.execute("create role theirs login createdb password 'p@ss word'")
        connection.execute("create database theirs owner theirs")
    where = database.url.split("@")[1].split("/")[0]
    url = f"postgresql://theirs:p%40ss%20word@{where}/theirs?connect_timeout=5"
    theirs = Database(url, with_schema(url, "ledger"), None)
    theirs.bring_up_to_date()
    add_run(theirs, "20261101-080000-00000e")
    before = backup(theirs, tmp_path / "theirs.dump")
    assert before["ledger.run"] == 1
    add_run(theirs, "20261101-080000-00000f")
    assert restore(theirs, tmp_path / "theirs.dump") == before
    assert rows(theirs) == before


def meaning_of_line(database: Database) -> str:
    with database.connect() as connection:
        (text,) = connection.execute(
            "select col_description('ledger.event'::regclass, attnum) from pg_attribute"
            " where attrelid = 'ledger.event'::regclass and attname = 'line'"
        ).fetchone() or ("",)
    return str(text)


def test_migrations_go_back_and_up_again_and_history_stays(database: Database) -> None:
    add_run(database, "20261101-080000-000010")
    pause(database, "Ana")
    runs = rows(database)["ledger.run"]
    names = [name for name, applied in listed(database.owner_url) if applied]
    assert names[0] == "0001_runs" and len(names) >= 6
    assert roll_back(database.owner_url, "0003") == names[:2:-1]
    assert [name for name, applied in listed(database.owner_url) if applied] == names[:3]
    assert rows(database)["ledger.run"] == runs
    assert "Below 0" not in meaning_of_line(database)
    database.bring_up_to_date()
    assert "Below 0" in meaning_of_line(database)
    assert all(applied for _, applied in listed(database.owner_url))
    # What a migration added is lost on its way back: the settings hold again.
    assert contents(database)["ledger.schedule"] == []
    pause(database, "Otto")
    add_run(database, "20261101-080000-000011")
    assert rows(database)["ledger.run"] == runs + 1


def test_a_queue_of_the_version_before_comes_here_and_goes_back_with_its_entries(
    database: Database, tmp_path: Path
) -> None:
    assert database.postgres is not None
    add_run(database, "20261101-080000-000012")
    roll_back(database.owner_url, "0007")
    with database.connect() as connection:
        connection.execute(
            "insert into line.place (run, runner, home, ticket, writes, reads, title, cause,"
            " caller, began_at) values"
            " ('running', 7, 'here:/w', nextval('line.ticket'), '{a,b}', '{}', 'build a', 'tool',"
            " 'kim', now()),"
            " ('waiting', 7, 'here:/w', nextval('line.ticket'), '{}', '{a}', 'test a', 'api',"
            " 'lee', null),"
            " ('unplanned', 8, 'there:/w', null, '{}', '{}', '', '', '', null)"
        )
    before, schema = contents(database), catalog(database)
    assert len(before["line.place"]) == 3
    backup(database, tmp_path / "before.dump")

    database.bring_up_to_date()
    now = contents(database)
    assert now.keys() - before.keys() == {"queue.entry", "ledger.schedule"}
    assert now.pop("ledger.schedule") == []
    renamed = {"number": "lease", "ticket": "position"}
    assert now.pop("queue.entry") == [
        {renamed.get(name, name): value for name, value in row.items()}
        for row in before["line.place"]
    ]
    assert now == {name: rows for name, rows in before.items() if name != "line.place"}
    with psycopg.connect(database.postgres.url("runner"), autocommit=True) as runner:
        # What an earlier version wrote goes on: numbers continue, and the runner's role works here.
        runner.execute("update queue.entry set position = nextval('queue.position')")
        new = runner.execute(
            "insert into queue.entry (run, runner, home) values ('new', 9, 'x') returning lease"
        ).fetchone()
        assert new == (1 + max(row["number"] for row in before["line.place"]),)
        runner.execute("delete from queue.entry where run = 'new'")

    with database.connect() as connection:
        connection.execute("update queue.entry set position = null where run = 'unplanned'")
        connection.execute("update queue.entry set position = 1 where run = 'running'")
        connection.execute("update queue.entry set position = 2 where run = 'waiting'")
    roll_back(database.owner_url, "0007")
    assert contents(database) == before
    assert catalog(database) == schema

    assert restore(database, tmp_path / "before.dump")["line.place"] == 3
    assert rows(database)["queue.entry"] == 3, "a backup of the version before comes here too"
    with database.connect() as connection:
        connection.execute("delete from queue.entry")


def test_a_migration_that_does_not_exist_is_named(database: Database) -> None:
    with pytest.raises(SettingError, match="no migration '0099'"):
        roll_back(database.owner_url, "0099")


def test_the_workspaces_lock_is_free_again(settings: Settings, tmp_path: Path) -> None:
    """Runs last in no order: a home of its own, opened twice, one after the other."""
    home = Home(tmp_path / "home")
    home.root.mkdir()
    own = replace(settings, workspace_home=home.root, postgres_port=free_ports(1)[0])
    for _ in range(2):
        with opened(own, home, alone=True) as found:
            found.bring_up_to_date()
    lock.hold(home, "free").close()
