"""A plan says why each node is in it, how long it takes, and is the list that runs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event as Signal
from typing import Any

import psycopg
import pytest

from mage_dbt.errors import PlanChanged
from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from tests.harness.repository import git
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

PROJECT = "steps"

SOURCES = """
sources:
  - name: raw
    schema: raw
    loaded_at_field: loaded_at
    freshness: {warn_after: {count: 24, period: hour}}
    tables: [{name: orders}]
models:
  - name: resting
    config: {enabled: false}
"""


def plan(runner: Runner, **request: Any) -> dict[str, Any]:
    return runner.client.plan(Request.parse(request)).to_json()


def test_a_plan_in_full_says_why_how_long_and_how_many_rows(runner: Runner) -> None:
    first = plan(runner, select="facts+")
    assert first["estimated_seconds"] is None and first["estimated_nodes"] == 0
    assert runner.run().state is RunState.SUCCESS
    runner.execute("analyze analytics.facts")
    found = plan(runner, select="+facts+")
    nodes = {one["name"]: one for one in found["nodes"]}
    assert nodes["facts"]["why"] == "asked for"
    assert nodes["numbers"]["why"] == "upstream of facts"
    assert nodes["totals"]["why"] == "downstream of facts"
    assert nodes["unique_facts_id"]["why"] == "test of facts"
    assert nodes["facts"]["rows"] == 3 and nodes["facts_view"]["rows"] is None
    assert all(one["estimated_seconds"] is not None for one in found["nodes"])
    assert found["estimated_nodes"] == len(nodes)
    longest = max(one["estimated_seconds"] for one in found["nodes"])
    total = sum(one["estimated_seconds"] for one in found["nodes"])
    assert longest - 0.1 <= found["estimated_seconds"] <= total + 0.1
    assert '"dbt"."analytics"."totals"' in found["writes"] or len(found["writes"]) == 4
    assert found["differs"] is None and found["target"] == "prod" and found["command"] == "build"

    run = runner.run(select="+facts+", digest=found["digest"])
    assert run.state is RunState.SUCCESS, run.detail
    assert list(run.planned) == [one["name"] for one in found["nodes"]]


def test_what_is_left_out_and_is_not_there_is_a_warning(runner: Runner) -> None:
    found = plan(runner, select="facts+", exclude=["totls", "facts_view"])
    names = [one["name"] for one in found["nodes"]]
    assert "totals" in names and "facts_view" not in names
    (warning,) = found["warnings"]
    assert warning.startswith(
        '`--exclude totls` leaves nothing out. No model "totls" in dbt-metric'
    )
    assert warning.endswith("Did you mean totals?")
    command = plan(runner, operation="command", command="build --select facts --exclude tag:finace")
    assert "`--exclude tag:finace` leaves nothing out." in command["warnings"][0]
    assert plan(runner, select="facts+", exclude="totals")["warnings"] == []


def test_a_plan_that_changed_is_refused_with_the_difference(runner: Runner) -> None:
    before = git(runner.repository, "rev-parse", "HEAD")
    seen = plan(runner, select="facts+")
    with pytest.raises(PlanChanged, match="other variables .none -> size=4.") as refused:
        runner.ask(select="facts+", variables={"size": 4}, digest=seen["digest"])
    assert "which is now" in refused.value.hint
    with pytest.raises(PlanChanged, match="No plan with this digest is known"):
        runner.ask(select="facts+", digest="0" * 64)
    runs = runner.client.runs(limit=500)
    new = runner.commit("Count", counts="select count(*) as n from {{ ref('facts') }}", totals=None)
    runner.live(new)
    said = f"another commit .{before[:7]} -> {new[:7]}.; nodes added: counts; nodes gone: totals"
    with pytest.raises(PlanChanged, match=said):
        runner.ask(select="facts+", digest=seen["digest"])
    assert runner.client.runs(limit=500) == runs
    old = plan(runner, select="facts+", commit=before[:8])
    assert old["differs"] == {
        "newest": new,
        "behind": 1,
        "changed": [],
        "only_here": ["totals"],
        "only_in_newest": ["counts"],
    }
    assert old["digest"] == seen["digest"]
    assert any("1 commit behind" in text for text in old["warnings"])


def test_a_stale_source_and_a_disabled_model_are_told(runner: Runner) -> None:
    runner.execute("create schema raw")
    runner.execute("create table raw.orders as select now() - interval '31 hours' as loaded_at")
    (runner.repository / "models" / "raw.yml").write_text(SOURCES)
    sha = runner.commit(
        "Read a source",
        reads="select * from {{ source('raw', 'orders') }}",
        resting="select 1 as id",
    )
    runner.live(sha)
    (stale,) = [one for one in plan(runner, select="reads")["warnings"] if "raw.orders" in one]
    assert "is stale" in stale and "31 h" in stale and stale.endswith(" KST).")
    runner.execute("truncate raw.orders")
    assert (
        "The source raw.orders is stale: it has no rows."
        in (plan(runner, select="reads")["warnings"])
    )
    run = runner.run(select="resting")
    assert run.state is RunState.ERROR and '"resting" is disabled' in run.detail
    assert runner.run(select="reads").warnings == ()  # nobody looks: nobody waits for it


def test_a_seen_plan_cannot_be_changed_and_is_forgotten_with_the_runs(runner: Runner) -> None:
    seen = plan(runner, select="apart")
    with psycopg.connect(runner.postgres.url("ledger"), autocommit=True) as ledger:
        known = "select 1 from ledger.plan where digest = %s"
        assert ledger.execute(known, [seen["digest"]]).fetchone()
        for change in ("update ledger.plan set commit = 'x'", "truncate ledger.plan"):
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                ledger.execute(change)
        ledger.execute("select ledger.forget(now() + interval '1 second')")
        assert ledger.execute(known, [seen["digest"]]).fetchone() is None


def test_a_star_selects_every_node_as_no_selection_does(runner: Runner) -> None:
    """What Mage's dbt blocks are told to write by whoever means all models."""
    every, star = (
        plan(runner, operation="command", command=command)
        for command in ("build", "build --select *")
    )
    assert {one["node"] for one in every["nodes"]} == {one["node"] for one in star["nodes"]}


# ------------------------------------------------ a plan that takes long


@contextmanager
def held(runner: Runner, relation: str) -> Iterator[psycopg.Connection[Any]]:
    """Who asks for the relation in this block waits for its end: the plan of a refresh asks for
    what the model reads. The connection's transaction ends with the block."""
    with runner.connect("dbt") as connection, connection.transaction():
        connection.execute(f"lock table {relation} in access exclusive mode".encode())
        yield connection


def until_they_wait(runner: Runner, relation: str, number: int) -> None:
    """Waits until so many sessions wait for the relation."""
    query = "select count(*) from pg_locks where relation = %s::regclass and not granted"

    def probe() -> bool | str:
        [[waiting]] = runner.query(query, relation)
        return bool(waiting == number) or f"{waiting} wait"

    wait_until(f"{number} sessions to wait for {relation}", probe)


def test_of_two_equal_requests_the_later_plan_meets_what_the_first_has_begun(
    runner: Runner,
) -> None:
    assert runner.run(models="numbers facts").state is RunState.SUCCESS
    runner.surveyed()  # which would wait for the relation, too
    runner.execute("create schema if not exists bi")
    asked = {"operation": "full_refresh", "models": "facts"}
    asked |= {"digest": plan(runner, **asked)["digest"]}
    keyed = {**asked, "key": "sent twice"}
    first_began = Signal()

    def change() -> None:
        with held(runner, "analytics.numbers") as connection:
            assert first_began.wait(SECONDS)
            connection.execute(b"create view bi.more as select id from analytics.facts")

    with ThreadPoolExecutor(3) as pool:
        with held(runner, "analytics.numbers"):
            # PostgreSQL lets them have the table in the order in which they came.
            first = pool.submit(runner.ask, **keyed)
            until_they_wait(runner, "analytics.numbers", 1)
            changed = pool.submit(change)
            until_they_wait(runner, "analytics.numbers", 2)
            second = pool.submit(runner.ask, **keyed)
            until_they_wait(runner, "analytics.numbers", 3)
        try:
            run = first.result(SECONDS)
            assert not second.done()
        finally:
            first_began.set()
        changed.result(SECONDS)
        assert second.result(SECONDS).id == run.id
    done = runner.over(run)
    assert done.state is RunState.SUCCESS, done.detail
    with pytest.raises(PlanChanged, match="the tables to refresh, or what depends on them"):
        runner.ask(**asked)  # only by its key did the second get a run
    runner.surveyed(done.finished_at)


def test_a_run_is_asked_for_when_its_plan_is_made_however_long_that_takes(runner: Runner) -> None:
    """Else it looks abandoned from its first moment, and is begun a second time."""
    asked = {"operation": "full_refresh", "models": "facts"}
    asked |= {"digest": plan(runner, **asked)["digest"]}
    runner.surveyed()
    with ThreadPoolExecutor(1) as pool:
        with held(runner, "analytics.numbers") as connection:
            other = pool.submit(runner.ask, **asked)
            until_they_wait(runner, "analytics.numbers", 1)
            row = connection.execute(b"select clock_timestamp()").fetchone()
        run = other.result(SECONDS)
    assert row and run.asked_at > row[0]
    [queued] = runner.rows(
        "ledger",
        "select at from ledger.event where run = %s and data ->> 'state' = 'Queued'",
        run.id,
    )
    assert queued[0] > row[0]
    done = runner.over(run)
    assert done.state is RunState.SUCCESS, done.detail
