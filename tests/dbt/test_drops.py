"""What a run would take along is told before, refused where it must stay, and repaired in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import yaml

from mage_dbt.errors import RequestError
from mage_dbt.launcher.database_roles import WAREHOUSE
from mage_dbt.mage import project
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

BI = """
create view bi.on_plain as select id from {0}.plain;
create view bi.on_that as select * from bi.on_plain;
create materialized view bi.kept_rows as select * from {0}.plain;
create view bi.on_stage as select id from {0}.stage;
create view bi.on_counted as select a from {0}.counted;
create view bi.on_kept as select id from {0}.kept;
create view bi.on_forced as select id from {0}.forced;
create view bi.on_facts as select id from {0}.facts;
create function bi.name_of({0}.plain) returns text language sql as 'select $1.name';
create function bi.how_many() returns bigint begin atomic; select count(*) from {0}.plain; end;
create table bi.rows (number int, whole {0}.plain);
create table bi.guarded (id int);
create policy known on bi.guarded using (exists (select from {0}.plain where id = 1));
create table bi.child (more text) inherits ({0}.plain);
create view bi.on_child as select more from bi.child;
"""
"""What depends on the models in every way that somebody has made things depend on tables."""


BUILT = {
    ("counted", "m"),
    ("facts", "r"),
    ("facts_seen", "v"),
    ("forced", "r"),
    ("kept", "r"),
    ("plain", "r"),
    ("prices", "r"),
    ("stage", "v"),
}


@pytest.fixture(autouse=True)
def everything_is_built(runner: Runner) -> None:
    """Each test begins with all models as the project has them, and all of BI on them."""
    runner.execute("drop schema if exists bi cascade; create schema if not exists analytics")
    there = runner.query(
        "select relname, relkind::text from pg_class"
        " where relnamespace = 'analytics'::regnamespace and relkind in ('r', 'v', 'm')"
    )
    if set(there) != BUILT:
        runner.execute("drop schema analytics cascade")
        built = runner.run()
        assert built.state is RunState.SUCCESS, built.detail
    runner.execute("create schema bi;" + BI.format("analytics"))


@contextmanager
def facts_held(runner: Runner) -> Iterator[None]:
    """The model facts waits until the block ends."""
    with psycopg.connect(runner.postgres.url("dbt"), dbname=WAREHOUSE) as connection:
        connection.execute("select pg_advisory_xact_lock(4711)")
        yield


def planned(runner: Runner, **request: Any) -> dict[str, Any]:
    return runner.client.plan(Request.parse(request)).to_json()


def lost(found: dict[str, Any] | Run) -> set[str]:
    """Names of schema bi in a plan's or a run's warnings."""
    warnings = found["warnings"] if isinstance(found, dict) else found.warnings
    return {name for text in warnings for name in re.findall(r"bi\.\w+", text)}


def standing(runner: Runner) -> set[str]:
    rows = runner.query(
        "select relname from pg_class where relnamespace = 'bi'::regnamespace"
        " and relkind in ('v', 'm', 'r')"
        " union select proname from pg_proc where pronamespace = 'bi'::regnamespace"
    )
    return {f"bi.{name}" for (name,) in rows}


def falls(runner: Runner, relation: str) -> list[str]:
    """What the server itself says falls with `relation`, which stays."""
    told: list[str] = []
    with psycopg.connect(runner.postgres.url("dbt"), dbname=WAREHOUSE) as connection:
        connection.add_notice_handler(
            lambda notice: told.extend(
                (notice.message_detail or notice.message_primary or "").splitlines()
            )
        )
        connection.execute(f"drop table {relation} cascade")
        connection.rollback()
    return [one.removeprefix("drop cascades to ") for one in told]


def test_the_plan_names_all_that_the_server_would_take_along(runner: Runner) -> None:
    found = planned(runner, operation="command", command="run --select plain")
    by_server = falls(runner, "analytics.plain")
    assert len(found["warnings"]) == len(by_server), (found["warnings"], by_server)
    names = {name for text in by_server for name in re.findall(r"bi\.\w+", text)}
    assert lost(found) == names >= {"bi.on_that", "bi.name_of", "bi.how_many", "bi.guarded"}
    view = (
        "The view bi.on_plain is dropped along, and put back with its grants where it still fits."
    )
    assert view in found["warnings"]
    function = "The function bi.how_many() is dropped along and not rebuilt by this run."
    assert function in found["warnings"]
    assert "The table column bi.rows.whole is dropped along" in " ".join(found["warnings"])


def test_views_and_materialized_views_that_are_replaced_count_as_tables_do(runner: Runner) -> None:
    select = "plain stage counted facts"
    assert {"bi.on_plain", "bi.on_stage"} <= lost(planned(runner, select=select))
    ordinary = lost(planned(runner, select="counted facts kept"))
    assert ordinary == set()  # refreshed, merged, appended to
    refreshed = planned(runner, operation="full_refresh", in_place=True, select="counted facts")
    assert lost(refreshed) == {"bi.on_counted", "bi.on_facts"}
    before = standing(runner)
    run = runner.run(select="stage", operation="build")
    assert run.state is RunState.SUCCESS and lost(run) == {"bi.on_stage"}
    assert before == standing(runner)  # it was put back: see test_dropped_views.py


def test_a_full_refresh_says_whose_rights_and_which_comment_fall_with_the_table(
    runner: Runner,
) -> None:
    def said(**asked: Any) -> list[str]:
        return [one for one in planned(runner, **asked)["warnings"] if "loses" in one]

    refresh = {"operation": "full_refresh", "in_place": True, "select": "facts"}
    assert said(**refresh) == []  # what the role analyst may read, it may read of any new table
    runner.execute("grant select on analytics.facts to public")
    runner.execute("grant insert on analytics.facts to analyst")
    runner.execute("comment on table analytics.facts is 'by hand'")
    assert said(**refresh) == [
        "facts loses what is granted on it: insert to analyst; select to public.",
        "facts loses its comment.",
    ]
    assert said(select="facts") == []  # merged into, not dropped
    run = runner.run(**refresh)
    assert run.state is RunState.SUCCESS, run.detail
    assert said(**refresh) == []


def test_a_model_that_was_another_kind_of_relation_drops_that_one(runner: Runner) -> None:
    runner.execute("drop table analytics.facts cascade")
    runner.execute("create view analytics.facts as select 1 as id, 2 as amount, ''::text as waited")
    runner.execute("create view bi.on_facts as select id from analytics.facts")
    assert lost(planned(runner, select="facts")) == {"bi.on_facts"}  # dbt makes a table of it


def test_a_view_that_reads_a_table_without_a_ref_may_be_built_before_it_and_lost(
    runner: Runner,
) -> None:
    runner.execute("create or replace view analytics.stage as select id, name from analytics.plain")
    warnings = planned(runner, select="stage plain")["warnings"]
    said = "stage reads plain and has no `ref` to it: built before it, it is dropped along."
    assert said in warnings
    assert not any("facts_seen" in one for one in planned(runner, select="facts+")["warnings"])


def test_what_a_killed_run_put_aside_is_dropped_first_and_views_have_followed_it(
    runner: Runner,
) -> None:
    runner.execute("alter table analytics.facts rename to facts__dbt_backup")
    runner.execute("create table analytics.facts as select * from analytics.facts__dbt_backup")
    assert lost(planned(runner, select="facts")) == {"bi.on_facts"}


def test_a_test_that_stores_its_failures_drops_what_it_stored_before(runner: Runner) -> None:
    runner.execute("create view bi.on_costly as select id from analytics_dbt_test__audit.costly")
    assert lost(planned(runner, operation="command", command="test -s costly")) == {"bi.on_costly"}


def test_a_configuration_beats_the_flag_and_the_plan_says_so(runner: Runner) -> None:
    with pytest.raises(RequestError, match="kept keeps the rows there are: `full_refresh: false`"):
        planned(runner, operation="full_refresh", in_place=True, select="kept")
    both = planned(
        runner, operation="full_refresh", in_place=True, select="kept facts", keep_views=False
    )
    assert lost(both) == {"bi.on_facts"}
    assert any(text.startswith("kept keeps the rows") for text in both["notes"])
    before = runner.query("select built_at from analytics.kept")
    run = runner.run(
        operation="full_refresh", in_place=True, select="kept facts_seen", keep_views=True
    )
    assert run.state is RunState.SUCCESS, run.detail  # bi.on_kept is in nobody's way
    assert runner.query("select built_at from analytics.kept") == before
    assert lost(planned(runner, select="forced")) == {"bi.on_forced"}


def test_a_view_made_while_the_run_waits_is_asked_for_at_its_turn(runner: Runner) -> None:
    runner.execute("drop view bi.on_facts")
    with facts_held(runner):
        first = runner.ask(select="facts")
        runner.running(first, "pg_advisory_xact_lock_shared")
        whole: dict[str, Any] = {
            "operation": "full_refresh",
            "in_place": True,
            "select": "facts facts_seen",
        }
        guarded = runner.ask(**whole, keep_views=True)
        waits(runner, guarded)  # or the other could be planned, and have its turn, before it
        unguarded = runner.ask(operation="command", command="run --full-refresh -s facts")
        waits(runner, unguarded)
        runner.execute("create view bi.on_facts as select id from analytics.facts")
    guarded, unguarded = runner.over(guarded), runner.over(unguarded)
    assert guarded.state is RunState.ERROR and "view bi.on_facts" in guarded.detail
    assert unguarded.state is RunState.SUCCESS, unguarded.detail
    said = [one.data for one in runner.client.follow(unguarded.id, print) if one.kind == "log"]
    assert any("The view bi.on_facts is dropped along" in one["text"] for one in said)


def waits(runner: Runner, run: Run) -> None:
    """Until it has said for whom."""

    def probe() -> bool | str:
        now = runner.client.run(run.id)
        return "waiting for" in now.detail or f"{now.state} {now.detail}"

    wait_until(f"{run.id} to wait", probe)


def test_a_view_made_while_the_guarded_run_builds_stays_and_so_does_its_table(
    runner: Runner,
) -> None:
    runner.execute("drop view bi.on_facts")
    whole = {
        "operation": "full_refresh",
        "in_place": True,
        "select": "facts facts_seen",
        "keep_views": True,
    }
    with facts_held(runner):
        run = runner.ask(**whole)
        runner.running(run, "pg_advisory_xact_lock_shared")
        runner.execute("create view bi.late as select id, waited from analytics.facts")
    run = runner.over(run)
    assert run.state is RunState.ERROR
    failed = {one.name: one for one in run.nodes}["facts"]
    assert "not rebuild: view bi.late" in failed.message
    assert runner.query("select id from bi.late") == [(1,)]
    assert runner.query("select to_regclass('analytics.facts__dbt_backup')") == [(None,)]


def test_what_a_full_refresh_repairs_is_said(runner: Runner) -> None:
    prices = runner.repository / "seeds" / "prices.csv"
    prices.write_text("id,cost\n1,10\n")
    runner.live(
        runner.commit(
            "Rename a column",
            counted="{{ config(materialized='materialized_view') }} select 2 as a, 3 as b",
        )
    )
    run = runner.run(select="prices counted")
    assert run.state is RunState.ERROR
    failed = {one.name: one for one in run.nodes}["prices"]
    assert "a full refresh repairs this" in failed.message
    said = [one.data for one in runner.client.follow(run.id, print) if one.kind == "log"]
    assert any("counted keeps its old definition" in one["text"] for one in said)
    repaired = runner.run(operation="full_refresh", in_place=True, select="prices counted")
    assert repaired.state is RunState.SUCCESS, repaired.detail
    assert runner.query("select a, b from analytics.counted") == [(2, 3)]
    again = runner.run(select="prices counted")
    assert again.state is RunState.SUCCESS, again.detail
    said = [one.data for one in runner.client.follow(again.id, print) if one.kind == "log"]
    assert not any("definition" in one["text"] for one in said)


def test_the_form_for_a_full_refresh_offers_all_that_is_built_aside(runner: Runner) -> None:
    project.install(runner.settings, runner.home)
    form = runner.home.mage_project / "interactions" / "incremental_full_refresh.yaml"

    def offered() -> set[str] | str:
        options = yaml.safe_load(form.read_text())["inputs"]["model"]["options"]
        return {one["value"] for one in options} or "nothing is offered"

    found = wait_until("the form to offer models", offered)
    # A seed, a table and the incremental ones; a materialized view is refreshed in place.
    assert found == {"prices", "plain", "facts", "kept", "forced"}


def test_the_guard_holds_whatever_quoting_says(runner: Runner) -> None:
    configuration = runner.repository / "dbt_project.yml"
    configuration.write_text(configuration.read_text() + UNQUOTED)
    runner.live(runner.commit("No quotes"))
    found = planned(runner, operation="full_refresh", in_place=True, select="facts counted")
    assert lost(found) == {"bi.on_facts", "bi.on_counted"}
    assert '"warehouse"."analytics"."facts"' in found["writes"]
    for model, view in (("facts", "bi.on_facts"), ("counted", "bi.on_counted")):
        refused = runner.run(operation="full_refresh", in_place=True, select=model, keep_views=True)
        assert refused.state is RunState.ERROR and view in refused.detail
    assert {"bi.on_facts", "bi.on_counted"} <= standing(runner)
