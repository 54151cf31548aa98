"""A backup is proved when it is made, and brings everything back; migrations go up and back."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from mage_dbt.database_url import with_schema
from mage_dbt.errors import MachineError, SettingError
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.ledger.migrate import listed, roll_back
from mage_dbt.request import Request
from mage_dbt.run import RunState
from mage_dbt.settings import Settings
from mage_dbt.workspace import lock
from mage_dbt.workspace.backup import backup, keep
from mage_dbt.workspace.database import Database, count, opened
from mage_dbt.workspace.restore import restore
from tests.harness.ports import free_ports


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


def rows(database: Database) -> dict[str, int]:
    with database.connect() as connection:
        return count(connection)


def test_a_backup_brings_everything_back_and_later_rows_are_gone(
    database: Database, tmp_path: Path
) -> None:
    with database.connect() as connection:
        connection.execute("create table if not exists mage.pipeline_run (id int)")
        connection.execute("insert into mage.pipeline_run values (1), (2)")
    add_run(database, "20261101-080000-00000a")
    file = tmp_path / "today.dump"
    before = backup(database, file)
    assert before == rows(database)
    assert before["ledger.run"] >= 1 and before["mage.pipeline_run"] >= 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["today.dump"]
    add_run(database, "20261101-080000-00000b")
    assert rows(database)["ledger.run"] == before["ledger.run"] + 1
    assert restore(database, file) == before
    assert rows(database) == before
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


def test_migrations_go_back_and_up_again_and_history_stays(database: Database) -> None:
    add_run(database, "20261101-080000-000010")
    runs = rows(database)["ledger.run"]
    names = [name for name, applied in listed(database.owner_url) if applied]
    assert names[0] == "0001_runs" and len(names) >= 6
    assert roll_back(database.owner_url, "0003") == names[:2:-1]
    assert [name for name, applied in listed(database.owner_url) if applied] == names[:3]
    assert rows(database)["ledger.run"] == runs
    database.bring_up_to_date()
    assert all(applied for _, applied in listed(database.owner_url))
    add_run(database, "20261101-080000-000011")
    assert rows(database)["ledger.run"] == runs + 1


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
