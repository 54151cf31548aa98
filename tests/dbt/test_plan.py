"""A plan says why each node is in it, how long it takes, and is the list that runs."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from mage_dbt.errors import PlanChanged
from mage_dbt.request import Request
from mage_dbt.run import RunState
from tests.harness.repository import git
from tests.harness.runner import Runner

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
    return runner.client.plan(Request.parse(request))


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
