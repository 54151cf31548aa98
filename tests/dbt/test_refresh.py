"""A full refresh is built aside and swapped in; whatever stops it, readers keep what they have."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from mage_dbt.errors import RequestError
from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.model.refresh import Check, CheckName, RefreshStep, Step
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from tests.harness.held_refresh import commits_can_wait, until_commit_waits, worker_of
from tests.harness.models import HELD
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

PROJECT = "refreshes"

LOCK = 4711

RAW = """
drop schema if exists raw cascade;
create schema raw;
create table raw.orders as
    select id, date '2026-11-01' + id % 20 as day, id * 1.5 as amount, 'order ' || id as name
    from generate_series(1, 1000) as id;
create table raw.events as
    select id, timestamp '2026-11-20' + id * interval '6 hours' as at, 1 as amount
    from generate_series(0, 31) as id;
"""
"""Of the events there are four on each of eight days; an amount of 13 fails."""

READERS = """
drop schema if exists bi cascade;
create schema bi;
create view bi.by_day as select day, count(*) as orders from analytics.orders group by day;
create view bi.busy as select * from bi.by_day where orders > 3;
create view bi.named as select id, name from analytics.orders;
grant usage on schema bi to analyst;
grant select on bi.by_day to analyst;
grant select (id, name) on analytics.orders to analyst;
comment on table analytics.orders is 'all orders';
create index by_name on analytics.orders (lower(name)) where amount > 10;
"""


@pytest.fixture(autouse=True)
def everything_is_built(runner: Runner) -> None:
    """Each test begins with all models built and what others have made on `orders`."""
    runner.execute("drop schema if exists bi cascade; drop schema if exists analytics cascade")
    for (schema,) in runner.query(
        "select nspname from pg_namespace where nspname like 'mage_dbt%'"
    ):
        runner.execute(f'drop schema "{schema}" cascade')
    runner.execute(RAW)
    built = runner.run()
    assert built.state is RunState.SUCCESS, built.detail
    runner.execute(READERS)


def refresh(runner: Runner, *models: str, **more: Any) -> Run:
    return runner.run(operation="full_refresh", models=list(models) or ["orders"], **more)


def previews(runner: Runner, **request: Any) -> dict[str, dict[str, Any]]:
    asked = {"operation": "full_refresh", "models": ["orders"], **request}
    plan = runner.client.plan(Request.parse(asked)).to_json()
    return {preview["name"]: preview for preview in plan["refresh"]}


def steps(run: Run, step: Step) -> list[RefreshStep]:
    return [found for found in run.refresh if found.step is step]


def schemas(runner: Runner) -> list[str]:
    rows = runner.query("select nspname from pg_namespace where nspname like 'mage_dbt%'")
    return sorted(name for (name,) in rows)


def outlook(runner: Runner) -> dict[str, Any]:
    """What readers and people find of `orders` and all that is on it."""
    return {
        "views": runner.query(
            "select schemaname, viewname, definition from pg_views"
            " where schemaname in ('bi', 'analytics') order by 1, 2"
        ),
        "rights": runner.query(
            "select attrelid::regclass::text, attname, attacl::text from pg_attribute"
            " where attacl is not null and attrelid = 'analytics.orders'::regclass order by 2"
        ),
        "relation": runner.query(
            "select relacl::text, obj_description(oid), relowner::regrole::text from pg_class"
            " where oid in ('analytics.orders'::regclass, 'bi.by_day'::regclass) order by 2"
        ),
        "indexes": runner.query(
            "select indexname, indexdef from pg_indexes where schemaname = 'analytics' order by 1"
        ),
        "column": runner.query("select col_description('analytics.orders'::regclass, 2)"),
    }


WITH_DISCOUNT = """{{ config(
    materialized='incremental', unique_key='id',
    indexes=[{'columns': ['day']}],
    post_hook="comment on column {{ this }}.day is 'the day of the order'"
) }}
select id, day, amount, name, amount > 100 as discount
from {{ source('raw', 'orders') }}
{% if is_incremental() %}
where id > (select coalesce(max(id), 0) from {{ this }})
{% endif %}
"""


@pytest.fixture
def a_column_is_added(runner: Runner) -> Any:
    before = (runner.repository / "models" / "orders.sql").read_text()
    runner.publish("Add the discount", orders=WITH_DISCOUNT)
    yield
    runner.publish("Without it", orders=before)


def test_a_column_is_added_and_nothing_else_changes(
    runner: Runner, a_column_is_added: None
) -> None:
    before = outlook(runner)
    ordinary = runner.run(models=["orders"])
    assert ordinary.state is RunState.SUCCESS
    assert not runner.query(
        "select 1 from pg_attribute where attrelid = 'analytics.orders'::regclass"
        " and attname = 'discount'"
    )
    preview = previews(runner)["orders"]
    assert [(one["name"], one["before"], one["after"]) for one in preview["columns"]] == [
        ("discount", "", "boolean")
    ]
    direct = {one["name"]: one["columns"] for one in preview["dependents"] if one["direct"]}
    assert direct["bi.named"] == ["id", "name"] and direct["bi.by_day"] == ["day"]
    assert preview["refusals"] == []
    assert any("prepared" in note for note in preview["notes"])
    asked = {"operation": "full_refresh", "models": ["orders"]}
    notes = runner.client.plan(Request.parse(asked)).notes
    assert any(note.startswith("daily reads it") and "with_downstream" in note for note in notes), (
        notes
    )
    run = refresh(runner)
    assert run.state is RunState.SUCCESS, run.detail
    assert outlook(runner) == before
    assert runner.query("select count(*), count(discount) from analytics.orders") == [(1000, 1000)]
    assert runner.query("select count(*) from bi.named") == [(1000,)]
    (compared,) = steps(run, Step.COMPARED)
    assert compared.comparison is not None
    assert (compared.comparison.only_before, compared.comparison.only_after) == (0, 0)
    assert compared.comparison.changed == 0
    assert [one.name for one in compared.comparison.columns] == ["discount"]
    checked = {
        step.check.name: step.check.passed for step in steps(run, Step.CHECKED) if step.check
    }
    assert checked[CheckName.TESTS] and checked[CheckName.ROWS] and checked[CheckName.KEY]
    (swapped,) = steps(run, Step.SWAPPED)
    assert swapped.lock_seconds is not None and swapped.lock_seconds > 0
    assert [one.name for one in run.nodes if one.relation] == ["orders"]
    assert "mage_dbt" not in str([one.relation for one in run.nodes])


def test_an_undo_brings_the_former_table_back_and_an_undo_of_it_too(
    runner: Runner, a_column_is_added: None
) -> None:
    before = outlook(runner)
    assert refresh(runner).state is RunState.SUCCESS
    runner.execute("insert into raw.orders values (1001, date '2026-11-25', 3, 'later')")
    assert runner.run(models=["orders"]).state is RunState.SUCCESS
    runner.execute("update analytics.orders set amount = amount + 1 where id <= 7")
    asked = {"operation": "undo_refresh", "models": ["orders"]}
    (preview,) = runner.client.plan(Request.parse(asked)).to_json()["refresh"]
    assert (preview["loses_rows"], preview["changes_rows"]) == (1, 7)
    assert any("1 run has written it since" in note for note in preview["notes"])
    undone = runner.run(**asked)
    assert undone.state is RunState.SUCCESS, undone.detail
    assert outlook(runner) == before
    assert runner.query("select count(*) from analytics.orders") == [(1000,)]
    again = runner.run(**asked)
    assert again.state is RunState.SUCCESS, again.detail
    assert runner.query("select count(*), count(discount) from analytics.orders") == [(1001, 1001)]
    assert outlook(runner) == before


def test_a_seed_gets_its_new_columns_and_an_undo_brings_the_old_ones(runner: Runner) -> None:
    runner.execute("create view bi.labels as select code, label from analytics.labels")
    seed = runner.repository / "seeds" / "labels.csv"
    before = seed.read_text()
    seed.write_text("code,label,rank\na,first,1\nb,second,2\n")
    runner.publish("With the rank")
    try:
        preview = previews(runner, models=["labels"])["labels"]
        assert preview["refusals"] == [] and "no query" in preview["columns_unknown"]
        run = refresh(runner, "labels")
        assert run.state is RunState.SUCCESS, run.detail
        (tests,) = (
            step.check
            for step in steps(run, Step.CHECKED)
            if step.check and step.check.name is CheckName.TESTS
        )
        assert tests == Check(CheckName.TESTS, True, "It has no dbt tests.", applies=False)
        assert runner.query("select sum(rank) from analytics.labels") == [(3,)]
        assert runner.query("select count(*) from bi.labels") == [(2,)]
        undone = runner.run(operation="undo_refresh", models=["labels"])
        assert undone.state is RunState.SUCCESS, undone.detail
        assert runner.query("select * from analytics.labels order by code") == [
            *(("a", "first"), ("b", "second")),
        ]
    finally:
        seed.write_text(before)
        runner.publish("Without the rank")


def test_models_that_read_each_other_are_swapped_together(runner: Runner) -> None:
    runner.execute("update raw.orders set amount = amount + 1")
    run = refresh(runner, with_downstream=True)
    assert run.state is RunState.SUCCESS, run.detail
    (swapped,) = steps(run, Step.SWAPPED)
    assert {kept.relation for kept in swapped.kept} == {
        *("analytics.orders", "analytics.daily", "analytics.newest"),
    }
    assert any("held" in note and "full_refresh: false" in note for note in run.notes)
    assert any("seen" in note and "snapshot" in note for note in run.notes)
    new = "select sum(amount) from raw.orders"
    assert runner.query("select sum(amount) from analytics.daily") == runner.query(new)
    assert runner.query("select count(*) from analytics.newest") == [(1,)]
    reads = runner.query("select pg_get_viewdef('analytics.newest'::regclass)")
    assert "mage_dbt" not in reads[0][0]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("held", "full_refresh: false"),
        ("seen", "snapshot"),
        ("counted", "is a materialized_view, which cannot be built aside"),
    ],
)
def test_what_is_not_rebuilt_aside_is_refused_with_the_reason(
    runner: Runner, model: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        refused = refresh(runner, model)
        assert refused.state is RunState.ERROR
        raise RequestError(refused.detail)


def test_lost_history_stops_the_swap_until_somebody_overrides_it(runner: Runner) -> None:
    runner.execute("delete from raw.orders where id <= 300")
    run = refresh(runner)
    assert run.state is RunState.ERROR and "700 instead of 1,000" in run.detail, run.detail
    assert runner.query("select count(*) from analytics.orders") == [(1000,)]
    assert schemas(runner) == [] and steps(run, Step.DISCARDED)
    assert {node.name: node.status for node in run.nodes}["orders"] == "error"
    forced = refresh(runner, override=["rows"], why="the shop deleted them")
    assert forced.state is RunState.SUCCESS, forced.detail
    assert runner.query("select count(*) from analytics.orders") == [(700,)]
    rows = [one.check for one in steps(forced, Step.CHECKED) if one.check]
    assert [one.overridden for one in rows if one.name is CheckName.ROWS] == [True]


def test_a_failing_test_stops_the_swap(runner: Runner) -> None:
    runner.execute("insert into raw.orders select * from raw.orders where id = 7")
    run = refresh(runner)
    assert run.state is RunState.ERROR
    assert runner.query("select count(*) from analytics.orders") == [(1000,)]
    assert schemas(runner) == []
    query = "select data -> 'rows' from ledger.event where run = %s and kind = 'failing_rows'"
    assert runner.rows("ledger", query, run.id) == [([{"values": ["7", "2"], "new": None}],)]


def test_a_write_from_elsewhere_during_the_build_stops_the_swap(runner: Runner) -> None:
    run = runner.ask(operation="full_refresh", models=["orders"], show_first=True)
    held(runner, run)
    runner.execute("update analytics.orders set amount = 0 where id = 1")
    runner.client.swap(run.id)
    over = runner.over(run)
    assert over.state is RunState.ERROR and "orders" in over.detail
    assert runner.query("select amount from analytics.orders where id = 1") == [(0,)]
    assert schemas(runner) == []


def test_a_refresh_that_is_shown_first_waits_for_the_decision(runner: Runner) -> None:
    run = runner.ask(operation="full_refresh", models=["orders"], show_first=True)
    shown = held(runner, run)
    assert steps(shown, Step.COMPARED) and not steps(shown, Step.SWAPPED)
    runner.client.swap(run.id)
    over = runner.over(run)
    assert over.state is RunState.SUCCESS, over.detail
    again = runner.ask(operation="full_refresh", models=["orders"], show_first=True)
    held(runner, again)
    runner.client.cancel(again.id, "ana: too few rows")
    over = runner.over(again)
    assert over.state is RunState.CANCELLED
    assert {node.status for node in over.nodes} == {"skipped"}
    assert {node.message for node in over.nodes} == {"Not reached: cancelled by ana: too few rows"}
    explanation = runner.client.explanation(again.id)
    (cause,) = explanation.causes
    assert (cause.failure_class, cause.nodes, cause.stale) == ("stopped", (), ())
    assert cause.sentence == "ana threw the refresh away. Nothing has changed."
    assert cause.title == "Thrown away by ana: too few rows." and explanation.left == 0
    assert cause.title in runner.tool("show", again.id)
    assert [name for name in schemas(runner) if "new" in name] == []


def test_sessions_that_end_while_they_are_idle_stop_no_refresh(runner: Runner) -> None:
    """A server ends them by its settings, a network without a word: dbt's build may take hours."""
    runner.execute(
        "alter table raw.orders rename to all_orders; create view raw.orders as"
        " select one.* from raw.all_orders as one, pg_catalog.pg_sleep(2)"
    )
    runner.execute("alter role dbt set idle_session_timeout = '500ms'")
    try:
        run = runner.ask(operation="full_refresh", models=["orders"], show_first=True)
        held(runner, run)

        def probe() -> bool | str:
            left = runner.query(
                "select query from pg_stat_activity"
                " where strpos(application_name, %s) > 0 and usename = 'dbt'",
                run.id,
            )
            return left == [] or str(left)

        wait_until("the run to have no session in the warehouse", probe)
        runner.client.swap(run.id)
        over = runner.over(run)
    finally:
        runner.execute("alter role dbt reset idle_session_timeout")
    assert over.state is RunState.SUCCESS, over.detail


def test_a_warehouse_that_takes_no_connection_refuses_the_refresh_in_its_words(
    runner: Runner,
) -> None:
    with runner.connect(SUPERUSER, WAREHOUSE) as connection:
        connection.execute("alter role dbt nologin")
    try:
        with pytest.raises(RequestError, match="not permitted to log in"):
            previews(runner)
        run = refresh(runner)
        assert run.state is RunState.ERROR and "not permitted to log in" in run.detail
        assert "Traceback" not in run.detail and "exit status" not in run.detail
    finally:
        with runner.connect(SUPERUSER, WAREHOUSE) as connection:
            connection.execute("alter role dbt login")


def held(runner: Runner, run: Run) -> Run:
    """Waits until the run holds for a decision."""

    def probe() -> Run | str:
        now = runner.client.run(run.id)
        return now if steps(now, Step.HOLDS) else f"{now.state} {now.detail}"

    return wait_until("the refresh to hold", probe)


def test_a_view_that_needs_a_dropped_column_refuses_the_refresh_by_name(runner: Runner) -> None:
    before = (runner.repository / "models" / "orders.sql").read_text()
    runner.publish("Without the name", orders=before.replace("amount, name", "amount"))
    try:
        with pytest.raises(RequestError, match=r"bi\.named"):
            refused = refresh(runner)
            raise RequestError(refused.detail)
        assert any("bi.named" in one["what"] for one in previews(runner)["orders"]["refusals"])
        assert schemas(runner) == []
    finally:
        runner.publish("With the name", orders=before)


def test_in_place_stays_a_named_choice_that_lists_what_it_drops(runner: Runner) -> None:
    asked = {"operation": "full_refresh", "models": ["orders"], "in_place": True}
    plan = runner.client.plan(Request.parse(asked)).to_json()
    assert any("bi.named" in text for text in plan["warnings"]) and plan["refresh"] == []
    run = runner.run(**asked)
    assert run.state is RunState.SUCCESS and not steps(run, Step.ASIDE)


def test_a_killed_worker_leaves_the_old_table_and_nothing_aside(runner: Runner) -> None:
    run = runner.ask(operation="full_refresh", models=["orders"], show_first=True)
    held(runner, run)
    runner.kill(f"{run.id}")
    over = runner.over(run)
    assert over.state is RunState.ERROR
    wait_until("nothing to be aside", lambda: schemas(runner) == [] or str(schemas(runner)))
    assert runner.query("select count(*) from analytics.orders") == [(1000,)]


def test_a_view_on_what_is_aside_keeps_no_later_run_waiting(runner: Runner) -> None:
    run = runner.ask(operation="full_refresh", models=["orders"], show_first=True)
    held(runner, run)
    (aside,) = schemas(runner)
    runner.execute(f"create view bi.ahead as select id from {aside}.orders")
    runner.kill(f"{run.id}")
    assert runner.over(run).state is RunState.ERROR
    later = runner.run(models=["orders"])
    assert later.state is RunState.SUCCESS, later.detail


def batches(run: Run) -> list[str]:
    return [str(window) for step in steps(run, Step.BATCH) for window in step.windows]


def test_a_rerun_goes_on_with_the_batches_that_were_built_aside(runner: Runner) -> None:
    runner.execute("update raw.events set amount = 13 where id = 18")
    run = refresh(runner, "hourly")
    (kept,) = steps(run, Step.RESUMABLE)
    assert run.state is RunState.ERROR and kept.until, run.detail
    # What is written stands there for ever, and a rerun of the next day begins anew.
    assert "within 24 hours of the request of this run" in kept.text
    assert run.resumable(kept.until - timedelta(minutes=1)) and not run.resumable(
        kept.until + timedelta(minutes=1)
    )
    done = batches(run)
    assert "2026-11-20" in done and "2026-11-24" not in done
    assert runner.query("select count(*) from analytics.hourly where amount = 10") == [(32,)]
    assert len(schemas(runner)) == 1
    runner.execute("update raw.events set amount = 5 where id = 18")
    again = runner.run(operation="rerun_failed", of=run.id)
    assert again.state is RunState.SUCCESS, again.detail
    assert "2026-11-24" in batches(again) and "2026-11-20" not in batches(again)
    assert runner.query("select count(*), sum(amount) from analytics.hourly") == [(32, 312)]
    assert all("_old_" in name for name in schemas(runner))


@pytest.mark.parametrize("ended", ["session", "worker"])
def test_a_rerun_that_is_cut_off_as_it_takes_over_the_batches_leaves_them_for_the_next(
    runner: Runner, ended: str
) -> None:
    runner.execute("update raw.events set amount = 13 where id = 18")
    run = refresh(runner, "hourly")
    assert run.state is RunState.ERROR and steps(run, Step.RESUMABLE), run.detail
    runner.execute("update raw.events set amount = 5 where id = 18")
    before = schemas(runner)
    with commits_can_wait(runner) as wait:
        let_go = wait()
        cut_off = runner.ask(operation="rerun_failed", of=run.id)
        pid = until_commit_waits(runner, cut_off)
        if ended == "session":
            runner.rows(SUPERUSER, "select pg_terminate_backend(%s, 60000)", pid)
        else:
            runner.kill(worker_of(runner, cut_off))
        let_go()
        over = runner.over(cut_off)
    assert over.state is RunState.ERROR and "Nothing has changed" in over.detail, over.detail
    assert schemas(runner) == before
    again = runner.run(operation="rerun_failed", of=run.id)
    assert again.state is RunState.SUCCESS, again.detail
    assert "2026-11-24" in batches(again) and "2026-11-20" not in batches(again)
    assert runner.query("select count(*), sum(amount) from analytics.hourly") == [(32, 312)]


def test_a_rerun_that_fails_in_its_first_batch_leaves_the_others_for_the_next(
    runner: Runner,
) -> None:
    runner.execute("update raw.events set amount = 13 where id = 18")
    run = refresh(runner, "hourly")
    assert run.state is RunState.ERROR and steps(run, Step.RESUMABLE), run.detail
    before = schemas(runner)
    in_vain = runner.run(operation="rerun_failed", of=run.id)  # nobody has repaired anything
    assert in_vain.state is RunState.ERROR and not batches(in_vain), in_vain.detail
    assert schemas(runner) == before and not steps(in_vain, Step.DISCARDED)
    assert steps(in_vain, Step.RESUMABLE)[0].text.count(run.id), in_vain.refresh
    runner.execute("update raw.events set amount = 5 where id = 18")
    again = runner.run(operation="rerun_failed", of=in_vain.id)
    assert again.state is RunState.SUCCESS, again.detail
    assert "2026-11-24" in batches(again) and "2026-11-20" not in batches(again)
    assert runner.query("select count(*), sum(amount) from analytics.hourly") == [(32, 312)]


@dataclass(frozen=True)
class HalfBuilt:
    run: Run
    let_go: Callable[[], None]
    """From then on no batch waits."""


@pytest.fixture
def half_built(runner: Runner) -> Iterator[HalfBuilt]:
    """The refresh of a microbatch model that has built two batches, and waits in the third."""
    runner.execute(
        "create function raw.held(integer, timestamp) returns integer language sql as"
        " 'select case when $2 < ''2026-11-22'' then $1"
        f" else (select $1 from {HELD}({LOCK})) end'"
    )
    before = (runner.repository / "models" / "events.sql").read_text()
    slow = "select id, at, raw.held(amount, at) as amount from {{ source('raw', 'events') }}"
    runner.publish("Slow events", events=f"{before.splitlines()[0]}\n{slow}\n")
    assert runner.run(select="events").state is RunState.SUCCESS
    with ExitStack() as lock:
        lock.enter_context(runner.held(LOCK))
        run = runner.ask(operation="full_refresh", models=["hourly"])

        def probe() -> bool | str:
            now = runner.client.run(run.id)
            return len(batches(now)) >= 2 or f"{now.state}, {batches(now)}"

        wait_until("two batches to be built", probe)
        yield HalfBuilt(run, lock.close)
    runner.publish("As before", events=before)


def test_a_rerun_goes_on_after_a_killed_worker_too(runner: Runner, half_built: HalfBuilt) -> None:
    runner.kill(f"run {runner.home.runs / half_built.run.id}")
    over = runner.over(half_built.run)
    assert over.state is RunState.ERROR and len(schemas(runner)) == 1
    half_built.let_go()
    again = runner.run(operation="rerun_failed", of=over.id)
    assert again.state is RunState.SUCCESS, again.detail
    assert not set(batches(over)) & set(batches(again))
    assert runner.query("select count(*) from analytics.hourly") == [(32,)]


def test_a_rerun_that_ends_before_its_first_batch_gives_the_batches_back(
    runner: Runner, half_built: HalfBuilt
) -> None:
    runner.kill(worker_of(runner, half_built.run))
    over = runner.over(half_built.run)
    before = schemas(runner)
    for end in (partial(runner.restart_runner, signal.SIGKILL), None):
        rerun = runner.ask(operation="rerun_failed", of=over.id)
        until_it_fills(runner, rerun)
        if end:
            end()
        else:
            runner.client.cancel(rerun.id, "somebody")
        ended = runner.over(rerun)
        assert ended.state is (RunState.ERROR if end else RunState.CANCELLED), ended.detail
        assert not batches(ended) and not steps(ended, Step.DISCARDED), ended.refresh
        assert not end or "Nothing has changed" in ended.detail, ended.detail
        assert schemas(runner) == before
    half_built.let_go()
    again = runner.run(operation="rerun_failed", of=over.id)
    assert again.state is RunState.SUCCESS, again.detail
    assert batches(over) and not set(batches(over)) & set(batches(again))
    assert runner.query("select count(*) from analytics.hourly") == [(32,)]


def until_it_fills(runner: Runner, run: Run) -> None:
    """Waits until the run has taken over what was built aside, and is to fill its first batch."""

    def probe() -> bool | str:
        now = runner.client.run(run.id)
        assert not now.state.final, now.detail
        return bool(steps(now, Step.BATCHES)) or str(now.state)

    wait_until("the rerun to fill batches", probe)


def lose_its_files(runner: Runner, run: Run) -> None:
    """The runner is killed, and comes back as on another machine, which has only the ledger."""
    (worker,) = runner.processes(worker_of(runner, run))
    worker.suspend()  # it would clean up itself
    shutil.rmtree(runner.home.runs / run.id)
    runner.restart_runner(signal.SIGKILL)


def test_a_runner_without_the_files_tells_batches_that_are_aside_from_those_that_were_swapped_in(
    runner: Runner,
) -> None:
    runner.execute("update raw.events set amount = 5")
    run = runner.ask(operation="full_refresh", models=["hourly"], show_first=True)
    shown = held(runner, run)
    before = schemas(runner)
    lose_its_files(runner, run)
    over = runner.over(run)
    assert over.state is RunState.ERROR and "Nothing has changed" in over.detail, over.detail
    assert steps(over, Step.RESUMABLE) and schemas(runner) == before and not new_rows(runner)
    with commits_can_wait(runner) as wait:
        rerun = runner.ask(operation="rerun_failed", of=run.id)
        again = held(runner, rerun)
        let_go = wait()
        runner.client.swap(rerun.id)
        until_commit_waits(runner, rerun)
        (worker,) = runner.processes(worker_of(runner, rerun))
        worker.suspend()
        let_go()
        wait_until("the new rows", lambda: bool(new_rows(runner)) or "the old ones are there")
        lose_its_files(runner, rerun)
        over = runner.over(rerun)
    assert "2026-11-20" in batches(shown) and "2026-11-20" not in batches(again)
    assert over.state is RunState.ERROR and over.swapped, over.refresh
    assert "It was swapped all the same: analytics.hourly" in over.detail, over.detail


def new_rows(runner: Runner) -> list[Any]:
    return runner.query("select id from analytics.hourly where amount = 2 limit 1")


def test_a_cancelled_refresh_keeps_no_batches(runner: Runner, half_built: HalfBuilt) -> None:
    runner.client.cancel(half_built.run.id, "somebody")
    over = runner.over(half_built.run)
    assert over.state is RunState.CANCELLED and not steps(over, Step.RESUMABLE)
    wait_until("nothing to be aside", lambda: schemas(runner) == [] or str(schemas(runner)))
