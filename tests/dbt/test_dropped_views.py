"""Views that dbt drops along are kept, or put back in the same run with all that they had."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg.errors
import pytest

from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.launcher.postgres import binaries
from mage_dbt.model.refresh import Step
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

PROJECT = "drops"

UNQUOTED = """
quoting:
  schema: false
  identifier: false
"""

MODELS = {
    "plain": "select 1 as id, 'a' as name",
    "stage": "{{ config(materialized='view') }} select 1 as id, 'a' as name",
    "counted": "{{ config(materialized='materialized_view') }} select 1 as a",
    "facts": "{{ config(materialized='incremental', unique_key='id') }}"
    " select 1 as id, 2 as amount, pg_advisory_xact_lock_shared(4711)::text as waited",
    "facts_seen": "{{ config(materialized='view') }} select id, amount from {{ ref('facts') }}",
}

BI = """
create view bi.on_plain with (security_barrier = true) as select id, name from analytics.plain;
create view "BI 2"."Über %s" as select id, upper(name) as "Name" from bi.on_plain;
create materialized view bi.rows as select p.id, v."Name" from analytics.plain as p
    join "BI 2"."Über %s" as v using (id);
create unique index by_id on bi.rows (id);
create index by_name on bi.rows (lower("Name")) where id > 0;
alter materialized view bi.rows cluster on by_id;
alter materialized view bi.rows alter column "Name" set statistics 7;
alter materialized view bi.rows set (fillfactor = 70);
create statistics bi.of_rows on id, "Name" from bi.rows;
create view bi.on_rows as select count(*) as many from bi.rows;
create materialized view bi.empty as select id from analytics.stage with no data;
create view bi.on_stage as select id from analytics.stage where id > 0;
create view bi.checked as select id from analytics.stage where id > 0 with local check option;
create view bi.on_facts as select f.id, p.name from analytics.facts as f
    join analytics.plain as p using (id);
create view bi.on_seen as select amount from analytics.facts_seen;
create view bi.on_counted as select a from analytics.counted;
create view bi.on_prices as select id, price from analytics.prices;
comment on view bi.on_plain is 'it''s read by many';
comment on column bi.on_plain.name is '100 %';
comment on index bi.by_id is 'of the rows';
alter view bi.on_plain alter column name set default 'none';
create function bi.instead() returns trigger language plpgsql as 'begin return null; end';
create trigger instead instead of insert on bi.on_plain
    for each row execute function bi.instead();
create rule nothing as on delete to bi.on_plain do instead nothing;
grant usage on schema bi, "BI 2" to analyst;
grant select on bi.on_plain to public;
grant select (id), update (name) on bi.on_plain to analyst with grant option;
grant select on "BI 2"."Über %s", bi.rows, bi.on_rows, bi.on_facts, bi.on_prices to analyst;
grant select on bi.on_seen, bi.on_counted, bi.on_stage to public;
revoke insert on bi.on_facts from dbt;
comment on materialized view bi.rows is 'a copy';
"""
"""Views at three levels in two schemas, with every property that a view can have."""


@pytest.fixture(autouse=True)
def everything_is_built(runner: Runner) -> None:
    """Each test begins with the project's models, and BI's views on them."""
    runner.execute(
        'drop schema if exists bi, "BI 2" cascade; drop schema if exists analytics cascade'
    )
    now = {
        name: (runner.repository / "models" / f"{name}.sql").read_text()
        for name in MODELS
        if (runner.repository / "models" / f"{name}.sql").exists()
    }
    if now != MODELS:
        runner.publish("The models of these tests", **MODELS)
    built = runner.run()
    assert built.state is RunState.SUCCESS, built.detail
    runner.execute('create schema bi; create schema "BI 2";' + BI)


def dumped(runner: Runner) -> list[str]:
    """What pg_dump says of BI's schemas; the server's own order depends on when each was made."""
    text = subprocess.run(
        [
            *(binaries() / "pg_dump", "--schema-only", "--schema=bi", '--schema="BI 2"'),
            runner.url("dbt"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = [line for line in text.splitlines() if not line.startswith(("--", "\\")) and line]
    return sorted(lines)


def oids(runner: Runner) -> dict[str, int]:
    return dict(
        runner.query(
            "select relname::text, oid::int from pg_class where relkind in ('v', 'm')"
            " and relnamespace in (select oid from pg_namespace where nspname in ('bi', 'BI 2'))"
        )
    )


def sentences(runner: Runner, run: Run) -> list[str]:
    """What the run's steps say; its log says the same."""
    steps = [step.text for step in runner.client.run(run.id).refresh if step.step is Step.RESTORED]
    log = [e.data["text"] for e in runner.client.follow(run.id, print) if e.kind == "log"]
    assert set(steps) <= set(log)
    return steps


def folder_file(runner: Runner, run: Run) -> Any:
    return runner.home.runs / run.id / "dropped_views.json"


def succeeded(runner: Runner, **request: Any) -> Run:
    run = runner.run(**request)
    assert run.state is RunState.SUCCESS, (run.detail, [node.message for node in run.nodes])
    return run


@contextmanager
def locked(runner: Runner, view: str) -> Iterator[None]:
    """Somebody's open transaction that has locked the view, and not what it reads."""
    with psycopg.connect(runner.url("dbt")) as connection:
        connection.execute(f"comment on view {view} is 'another'".encode())
        yield
        connection.rollback()


def test_a_table_that_is_rebuilt_keeps_its_views_and_gets_back_the_others(runner: Runner) -> None:
    before, were = dumped(runner), oids(runner)
    run = succeeded(runner, operation="command", command="run --select plain")
    assert dumped(runner) == before
    same = {name for name, oid in oids(runner).items() if were[name] == oid}
    assert {"on_plain", "Über %s", "on_facts"} <= same  # never dropped
    assert "rows" not in same
    said = sentences(runner, run)
    assert "The materialized view bi.rows was dropped along and is back, with its grants." in said
    assert "The view bi.on_rows was dropped along and is back, with its grants." in said
    assert any("bi.on_plain" in text and "not dropped along" in text for text in said)
    assert runner.query("select many from bi.on_rows") == [(1,)]
    assert runner.rows("analyst", 'select "Name" from bi.rows') == [("A",)]
    assert not folder_file(runner, run).exists()


REFRESH = {"operation": "full_refresh", "in_place": True}


def test_each_kind_of_model_leaves_the_views_as_they_were(runner: Runner) -> None:
    before = dumped(runner)
    for asked in (
        {"select": "stage"},
        {**REFRESH, "select": "facts"},
        {**REFRESH, "select": "facts facts_seen"},
        {**REFRESH, "select": "counted"},
        {**REFRESH, "select": "prices"},
        {},
    ):
        succeeded(runner, **asked)
        assert dumped(runner) == before, asked
        unharmed(runner)


AS_VIEW = "{{ config(materialized='view') }} "
AS_TABLE = "{{ config(materialized='table') }} "
AS_INCREMENTAL = "{{ config(materialized='incremental') }} "
AS_MATERIALIZED_VIEW = "{{ config(materialized='materialized_view') }} "
SEEN = "select id, amount from {{ ref('facts') }}"
ROW = "select 1 as id, 'a' as name"


@pytest.mark.parametrize(
    "models",
    [
        {
            "plain": AS_VIEW + ROW,
            "stage": AS_TABLE + ROW,
            "counted": AS_VIEW + "select 1 as a",
            "facts_seen": AS_MATERIALIZED_VIEW + SEEN,
        },
        {
            "plain": AS_MATERIALIZED_VIEW + ROW,
            "stage": AS_INCREMENTAL + ROW,
            "counted": AS_TABLE + "select 1 as a",
            "facts_seen": AS_TABLE + SEEN,
        },
        {"stage": AS_MATERIALIZED_VIEW + ROW},
    ],
)
def test_a_model_that_becomes_another_kind_leaves_them_too(
    runner: Runner, models: dict[str, str]
) -> None:
    runner.execute("drop view bi.checked")  # a check option needs what can be updated
    runner.publish("Other kinds", **models)
    before = dumped(runner)
    succeeded(runner)
    assert dumped(runner) == before
    unharmed(runner)


def unharmed(runner: Runner) -> None:
    for view in ("on_plain", "on_stage", "on_facts", "on_seen", "on_counted", "on_prices"):
        assert runner.query(f"select * from bi.{view}"), view


def test_they_stay_with_quoting_switched_off(runner: Runner) -> None:
    configuration = runner.repository / "dbt_project.yml"
    quoted = configuration.read_text()
    configuration.write_text(quoted + UNQUOTED)
    runner.live(runner.commit("No quotes"))
    before = dumped(runner)
    succeeded(runner)
    succeeded(runner, operation="full_refresh", in_place=True, select="facts counted")
    assert dumped(runner) == before
    configuration.write_text(quoted)
    runner.live(runner.commit("Quotes"))


def test_a_view_that_no_longer_fits_is_named_with_its_definition_and_the_others_come_back(
    runner: Runner,
) -> None:
    runner.execute("create view bi.ids as select id from analytics.plain")
    runner.execute("create view bi.long as select id + 1 as more from analytics.plain")
    runner.publish("Other columns", plain="select 1::bigint as id, 'a' as label")
    run = succeeded(runner, operation="command", command="run --select plain")
    said = sentences(runner, run)
    lost = [text for text in said if "could not be put back" in text]
    fallen = ("bi.on_plain", '"Über %s"', "bi.rows", "bi.on_rows", "bi.on_facts")
    assert len(lost) == len(fallen) and all(any(view in text for text in lost) for view in fallen)
    why = next(text for text in lost if "view bi.on_plain " in text)
    assert "column plain.name does not exist" in why or 'column "name"' in why
    assert "its definition: create view" in why and "FROM analytics.plain" in why
    # Another type needs a new view: CREATE OR REPLACE refuses that.
    for view in ("ids", "long"):
        assert f"The view bi.{view} was dropped along and is back, with its grants." in said
    assert runner.query("select pg_typeof(id)::text from bi.ids") == [("bigint",)]
    saved = json.loads(folder_file(runner, run).read_text())
    assert saved["over"] and len(saved["views"]) == len(fallen)
    assert folder_file(runner, run).stat().st_mode & 0o777 == 0o600


def test_with_the_setting_off_they_fall_as_the_plan_says(runner: Runner) -> None:
    runner.restart_runner(RESTORE_DROPPED_VIEWS="false")
    runner.answering()
    try:
        plan = runner.client.plan(
            Request.parse({"command": "run -s plain", "operation": "command"})
        )
        sentence = "The view bi.on_plain is dropped along and not rebuilt by this run."
        assert sentence in plan.warnings
        run = succeeded(runner, operation="command", command="run --select plain")
        assert "on_plain" not in oids(runner)
        assert sentences(runner, run) == []
    finally:
        runner.restart_runner(RESTORE_DROPPED_VIEWS="true")
        runner.answering()


def test_a_view_of_a_model_that_is_not_rebuilt_in_the_end_stays(runner: Runner) -> None:
    """dbt drops it with its table, and then skips it."""
    before = dumped(runner)
    failing = MODELS["facts_seen"].replace("id, amount", "1 / (id - id) as id, amount, missing")
    runner.publish("It breaks", facts_seen=failing)
    run = runner.run(
        operation="full_refresh", in_place=True, models=("facts",), with_downstream=True
    )
    assert run.state is RunState.ERROR
    assert dumped(runner) == before
    assert runner.query("select amount from analytics.facts_seen") == [(2,)]
    assert runner.query("select amount from bi.on_seen") == [(2,)]


def test_what_is_there_again_meanwhile_is_left_alone(runner: Runner) -> None:
    runner.execute("alter table analytics.prices owner to dbt")
    runner.publish(
        "A hook makes the view",
        plain='{{ config(post_hook="create or replace view bi.by_hook as select 1 as mine") }}'
        " select 1 as id, 'a' as name",
    )
    runner.execute("create view bi.by_hook as select 2 as mine from analytics.plain")
    succeeded(runner, operation="command", command="run --select plain")
    assert runner.query("select mine from bi.by_hook") == [(1,)]


def test_a_view_made_while_the_run_builds_stays_too(runner: Runner) -> None:
    with runner.held(4711):
        asked = {"operation": "full_refresh", "in_place": True, "select": "facts"}
        run = runner.ask(**asked)
        runner.running(run, "pg_advisory_xact_lock_shared")
        runner.execute("create view bi.late as select f.id, waited from analytics.facts as f")
        runner.execute("create view bi.later as select id from bi.late")
        runner.execute("grant select on bi.later to analyst")
    run = runner.over(run)
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.query("select id, waited from bi.late") == [(1, "")]
    assert runner.rows("analyst", "select id from bi.later") == [(1,)]


def test_a_view_that_was_made_on_a_seed_since_the_run_began_stays_too(runner: Runner) -> None:
    properties = runner.repository / "seeds" / "prices.yml"
    hook = "pre_hook: select pg_advisory_xact_lock_shared(4712)"
    properties.write_text(f"seeds:\n  - name: prices\n    config:\n      {hook}\n")
    runner.live(runner.commit("A seed that waits"))
    with runner.held(4712):
        run = runner.ask(operation="full_refresh", in_place=True, select="prices")
        runner.running(run, "4712")
        runner.execute("create view bi.late as select price from analytics.prices")
        runner.execute("grant select on bi.late to analyst")
    run = runner.over(run)
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.rows("analyst", "select price from bi.late") == [(10,)]
    assert any("bi.late" in text for text in sentences(runner, run))
    properties.unlink()
    runner.live(runner.commit("It waits no more"))


def test_a_view_of_another_owner_is_put_back_as_ours_and_that_is_said(runner: Runner) -> None:
    with runner.connect(SUPERUSER, WAREHOUSE) as connection:
        connection.execute("drop role if exists stranger")
        connection.execute("create role stranger")
        connection.execute("grant usage, create on schema bi to stranger")
        connection.execute("grant select on analytics.plain to stranger")
        connection.execute("create view bi.theirs as select id from analytics.plain")
        connection.execute("alter view bi.theirs owner to stranger")
        connection.execute("grant select on bi.theirs to analyst")
        try:
            run = succeeded(runner, operation="command", command="run --select plain")
            said = next(text for text in sentences(runner, run) if "bi.theirs" in text)
            assert "is back, but it is dbt's now, not stranger's" in said
            assert runner.rows("analyst", "select id from bi.theirs") == [(1,)]
            asked = "select has_table_privilege('stranger', 'bi.theirs', 'select')"
            assert runner.query(asked) == [(True,)]
            # As a member of that role it stays the other's, who need not be asked.
            connection.execute("alter view bi.theirs owner to stranger")
            connection.execute("grant stranger to dbt")
            run = succeeded(runner, operation="command", command="run --select plain")
            owner = (
                "select pg_get_userbyid(relowner) from pg_class where oid = 'bi.theirs'::regclass"
            )
            assert runner.query(owner) == [("stranger",)]
            asked = "select has_table_privilege('analyst', 'bi.theirs', 'select')"
            assert runner.query(asked) == [(True,)]
        finally:
            connection.execute("drop owned by stranger cascade; drop role stranger")


def killed(runner: Runner, run: Run) -> Run:
    runner.kill(f"run {runner.home.runs / run.id}")
    run = runner.over(run)
    assert run.state is RunState.ERROR, run.detail
    return run


def test_a_worker_killed_before_it_puts_them_back_leaves_that_to_its_runner(runner: Runner) -> None:
    (runner.repository / "seeds" / "prices.yml").write_text(
        "seeds:\n  - name: prices\n    config:\n      post_hook:\n        - sql: select"
        " pg_advisory_xact_lock_shared(4712)\n          transaction: false\n"
    )
    runner.live(runner.commit("A seed that waits at its end"))
    # A materialized view comes back after dbt's own transaction, which it would make long.
    runner.execute("create materialized view bi.cached as select id, price from analytics.prices")
    runner.execute("create unique index on bi.cached (id); grant select on bi.cached to analyst")
    before = dumped(runner)
    with runner.held(4712):
        run = runner.ask(operation="full_refresh", in_place=True, select="prices")
        runner.until_at_work("4712")
        assert "cached" not in oids(runner)
        assert "cached" in folder_file(runner, run).read_text()
        run = killed(runner, run)
    assert dumped(runner) == before  # the run is over once it is tidied up
    assert runner.rows("analyst", "select price from bi.cached") == [(10,)]
    back = "The materialized view bi.cached was dropped along and is back, with its grants."
    assert back in sentences(runner, run)
    assert not folder_file(runner, run).exists()
    (runner.repository / "seeds" / "prices.yml").unlink()
    runner.live(runner.commit("It waits no more"))


def test_views_that_a_killed_runner_and_its_worker_left_are_back_after_the_next_start(
    runner: Runner,
) -> None:
    before = dumped(runner)
    with locked(runner, "bi.on_plain"):
        run = waits_to_move(runner)
        worker = runner.processes(f"run {runner.home.runs / run.id}")[0]
        worker.suspend()  # it would end in order when its runner is gone
        runner.restart_runner(signal.SIGKILL)
    run = runner.over(run)
    assert run.state is RunState.ERROR
    former = "select to_regclass('analytics.plain__dbt_backup')"
    wait_until("the views to move", lambda: runner.query(former) == [(None,)] or "not yet")
    assert dumped(runner) == before


def waits_to_move(runner: Runner) -> Run:
    """A run that has replaced the table, and waits for a lock on a view on it."""
    run = runner.ask(operation="command", command="run --select plain")
    runner.until_at_work("create or replace view")
    assert "plain__dbt_backup" in " ".join(dumped(runner))
    return run


def test_views_of_a_worker_killed_before_it_drops_the_old_table_read_the_new_one(
    runner: Runner,
) -> None:
    before = dumped(runner)
    with locked(runner, "bi.on_plain"):
        run = waits_to_move(runner)
        runner.kill(f"run {runner.home.runs / run.id}")
    run = runner.over(run)
    assert run.state is RunState.ERROR and not any("still" in s for s in sentences(runner, run))
    assert dumped(runner) == before


def test_views_that_could_not_be_moved_after_a_kill_are_moved_by_the_next_run(
    runner: Runner,
) -> None:
    before = dumped(runner)
    with locked(runner, "bi.on_plain"):
        run = killed(runner, waits_to_move(runner))
        assert any("still read its rows from before" in text for text in sentences(runner, run))
    assert "plain__dbt_backup" in " ".join(dumped(runner))
    succeeded(runner, operation="command", command="run --select plain")
    assert dumped(runner) == before


def test_a_cancelled_run_puts_them_back(runner: Runner) -> None:
    before = dumped(runner)
    with runner.held(4711):
        run = runner.ask(
            operation="command", command="run --full-refresh --select plain facts counted"
        )
        runner.running(run, "pg_advisory_xact_lock_shared")
        wait_until(
            "the others to be built", lambda: len(runner.client.run(run.id).nodes) == 2 or "not yet"
        )
        runner.client.cancel(run.id, "test")
        run = runner.over(run)
    assert run.state is RunState.CANCELLED
    assert dumped(runner) == before


def test_no_reader_misses_a_view_while_what_it_reads_is_rebuilt(runner: Runner) -> None:
    views = (
        "bi.on_plain",
        "bi.on_rows",
        "bi.on_stage",
        "bi.on_facts",
        "bi.on_seen",
        "bi.on_prices",
    )
    over = threading.Event()
    errors: list[str] = []
    reads = dict.fromkeys(views, 0)

    def read(view: str) -> None:
        with psycopg.connect(runner.url("dbt"), autocommit=True) as connection:
            while not over.is_set():
                try:
                    if not connection.execute(f"select * from {view}".encode()).fetchall():
                        errors.append(f"{view}: no row")
                except psycopg.Error as error:
                    errors.append(f"{view}: {error}")
                reads[view] += 1
                over.wait(0.002)

    threads = [threading.Thread(target=read, args=[view]) for view in views]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            succeeded(runner)
            succeeded(
                runner,
                operation="full_refresh",
                in_place=True,
                models=("facts", "prices"),
                with_downstream=True,
            )
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert errors == []
