"""History stays as it was written: the runner's role adds to it, and a setting forgets old runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from mage_dbt.errors import SettingError
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.ledger.migrate import migrate, migrate_if_owner, roll_back
from mage_dbt.model.request import Request
from mage_dbt.model.run import EventKind, RunState
from tests.harness.waiting import SECONDS

ENDED = "20260101-000000-0000ed"
EARLIER = "20260101-000000-00000e"
LISTENED = "20260101-000000-000011"

TABLES = """
select format('%I.%I', schemaname, tablename) from pg_tables
where schemaname = 'ledger' and tablename not like '%yoyo%'
"""


@pytest.fixture
def ledger(postgres: Postgres) -> Iterator[Ledger]:
    made = Ledger(postgres.url("runner"))
    made.open()
    yield made
    made.close()


def ask(postgres: Postgres, role: str, sql: str, *values: Any) -> list[Any]:
    with psycopg.connect(postgres.url(role), autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def add(ledger: Ledger, run: str, key: str | None = None, days_ago: int = 0) -> None:
    asked_at = datetime.now(UTC) - timedelta(days=days_ago)
    request = Request.parse({"caller": "kim"})
    ledger.add_run(NewRun(run, asked_at, request, key, "c", "s", "prod", "1", None, None, 0))


def fill(ledger: Ledger) -> None:
    add(ledger, "kept")
    node = {"node": "model.a", "name": "a", "type": "model", "status": "success"}
    ledger.event("kept", datetime.now(UTC), EventKind.NODE_FINISHED, node, 1)
    ledger.commit("c", "subject", "kim", "ready", "", "1")


def test_the_runners_role_adds_to_history_and_can_change_nothing_of_it(
    postgres: Postgres, ledger: Ledger
) -> None:
    fill(ledger)
    tables = [name for (name,) in ask(postgres, "ledger", TABLES)]
    assert {"ledger.run", "ledger.event", "ledger.node_result", "ledger.commit_event"} <= {*tables}

    def history() -> dict[str, list[Any]]:
        return {
            name: ask(postgres, "ledger", f"select to_jsonb(t) from {name} as t order by 1::text")
            for name in tables
        }

    before = history()
    for name in tables:
        column = ask(
            postgres,
            "ledger",
            "select attname from pg_attribute where attrelid = %s::regclass and attnum = 2",
            name,
        )[0][0]
        for attempt in (
            f"update {name} set {column} = {column}",
            f"delete from {name}",
            f"truncate {name}",
            f"truncate {name} cascade",
            f"alter table {name} disable trigger all",
            f"drop trigger append_only on {name}",
            f"drop table {name} cascade",
            f"alter table {name} owner to runner",
            f"set role ledger; delete from {name}",
            f"set ledger.forgetting = 'yes'; delete from {name}",
            f"set session_replication_role = replica; delete from {name}",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                ask(postgres, "runner", attempt)
    for attempt in (
        "drop schema ledger cascade",
        "create table ledger.mine (id int)",
        "create or replace function ledger.refuse_change() returns trigger language plpgsql"
        " as 'begin return old; end'",
        "create or replace view ledger.run_now as select 1",
        "insert into ledger._yoyo_migration (migration_id) values ('x')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(postgres, "runner", attempt)
    assert history() == before


def test_the_owner_is_stopped_by_the_triggers(postgres: Postgres, ledger: Ledger) -> None:
    add(ledger, "owned")
    for attempt in ("update ledger.run set why = 'x'", "delete from ledger.run"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            ask(postgres, "ledger", attempt)


def test_a_run_has_one_end_however_often_it_is_written(postgres: Postgres, ledger: Ledger) -> None:
    add(ledger, ENDED)
    ledger.state(ENDED, RunState.ERROR, "first")
    ledger.state(ENDED, RunState.SUCCESS)
    run = ledger.run(ENDED)
    assert (run.state, run.detail) == (RunState.ERROR, "first")


def test_whoever_listens_is_notified_of_each_event_that_was_added(
    postgres: Postgres, ledger: Ledger
) -> None:
    with psycopg.connect(postgres.url("runner"), autocommit=True) as listener:
        listener.execute("listen mage_dbt_event")
        add(ledger, LISTENED)
        now = datetime.now(UTC)
        for _ in range(2):  # the second is there already, so nothing is added
            ledger.event(LISTENED, now, EventKind.LOG, {"level": "info", "text": "one line"}, 1)
        ledger.state(LISTENED, RunState.SUCCESS)
        heard = [each.payload for each in listener.notifies(timeout=SECONDS, stop_after=3)]
        more = [each.payload for each in listener.notifies(timeout=0.3)]
    assert heard == [LISTENED] * 3, "it was queued, said a line, and ended"
    assert more == []


def test_old_runs_are_forgotten_with_all_that_is_kept_of_them_and_their_keys(
    postgres: Postgres, ledger: Ledger
) -> None:
    add(ledger, "old", key="monday", days_ago=800)
    node = {"node": "model.a", "name": "a", "type": "model", "status": "success"}
    ledger.event("old", datetime.now(UTC), EventKind.NODE_FINISHED, node, 1)
    ledger.state("old", RunState.SUCCESS)
    add(ledger, "old and going on", days_ago=800)
    add(ledger, "young", days_ago=10)
    ledger.state("young", RunState.SUCCESS)
    assert ledger.forget(datetime.now(UTC) - timedelta(days=730)) == 1
    left = {one.id for one in ledger.runs(limit=100)}
    assert "old" not in left
    assert {"old and going on", "young"} <= left
    for table in ("event", "node_result"):
        assert ask(postgres, "ledger", f"select * from ledger.{table} where run = 'old'") == []
    assert ledger.run_with_key("monday") is None
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(postgres, "runner", "delete from ledger.run where id = 'young'")


def test_a_workspace_whose_ledger_the_runner_owned_is_upgraded_by_the_next_start(
    postgres: Postgres, ledger: Ledger
) -> None:
    add(ledger, EARLIER)
    superuser = postgres.url("superuser").replace("//superuser:", "//postgres:")
    roll_back(postgres.url("ledger"), "0002")
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute("drop schema line")
        connection.execute("reassign owned by ledger to runner")
    owned = "select distinct tableowner from pg_tables where schemaname = 'ledger'"
    assert ask(postgres, "runner", owned) == [("runner",)]
    postgres.prepare_workspace()
    assert ask(postgres, "runner", owned) == [("ledger",)]
    assert ledger.run(EARLIER).caller == "kim"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(postgres, "runner", "delete from ledger.run")
    assert ask(postgres, "runner", "select count(*) from queue.entry") == [(0,)]


def test_a_runner_that_may_not_migrate_says_what_is_missing(postgres: Postgres) -> None:
    assert migrate_if_owner(postgres.url("runner")) == []
    assert migrate(postgres.url("ledger")) == []
    superuser = postgres.url("superuser").replace("//superuser:", "//postgres:")
    hide = b"update ledger._yoyo_migration set migration_id = %s where migration_id = %s"
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(hide, ["hidden", "0003_line"])
        with pytest.raises(SettingError, match="lacks 0003_line"):
            migrate_if_owner(postgres.url("runner"))
        connection.execute(hide, ["0003_line", "hidden"])
