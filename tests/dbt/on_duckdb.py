"""What the docs promise of any adapter, on DuckDB: runs in an environment that has dbt-duckdb.

`tests/dbt/test_other_adapter.py` runs it, every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from mage_dbt.request import Request
from mage_dbt.run import Run, RunState
from tests.dbt.conftest import Stack, git, make_repository, start_stack, stop_stack

PROFILE = """
plain:
  target: prod
  outputs:
    prod:
      type: duckdb
      path: {path}
      schema: analytics
      threads: 2
"""

TOTALS = "select sum(amount) as total from {{ ref('facts') }}"

ENDLESS = "select count(*) as n from range(10000000) as a, range(10000000) as b"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    repository = make_repository(folder / "repository", "plain_sql")
    profiles = folder / "profiles"
    profiles.mkdir()
    (profiles / "profiles.yml").write_text(PROFILE.format(path=folder / "warehouse.duckdb"))
    stack = start_stack(
        folder,
        DBT_METRIC_REPO=str(repository),
        DBT_PROFILES_DIR=str(profiles),
        RUNNER_PARALLEL_RUNS="1",  # DuckDB's file is for one process at a time
    )
    try:
        stack.live(git(repository, "rev-parse", "HEAD"))
        yield stack
    finally:
        stop_stack(stack)


def rows(stack: Stack, sql: str) -> list[Any]:
    assert stack.settings.dbt_profiles_dir is not None
    file = stack.settings.dbt_profiles_dir.parent / "warehouse.duckdb"
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def how(stack: Stack, run: Run) -> str:
    plans = [one.data for one in stack.client.follow(run.id, print) if one.kind == "plan"]
    return str(plans[-1]["worker"])


def test_the_main_job_a_failure_and_its_rerun_a_full_refresh_and_a_cancel(stack: Stack) -> None:
    built = stack.run()
    assert built.state is RunState.SUCCESS, (built.detail, built.nodes)
    assert {one.name for one in built.nodes} == set(built.planned) and how(stack, built) == "warm"
    assert rows(stack, "select total from analytics.totals") == [(60,)]

    found = stack.client.plan(Request.parse({"select": "facts+"}))
    assert found["nodes"][0]["name"] == "facts"
    assert '"warehouse"."analytics"."facts"' in found["writes"] and found["warnings"] == []
    assert "On duckdb a plan does not know how many rows there are." in found["notes"]

    stack.live(stack.commit("Break", totals=TOTALS.replace("amount", "nothing")))
    failed = stack.run(select="facts+")
    assert failed.state is RunState.ERROR and "totals" in failed.detail
    stack.live(stack.commit("Repair", totals=TOTALS))
    fixed = stack.run(operation="rerun_failed", of=failed.id)
    assert fixed.state is RunState.SUCCESS, fixed.detail
    assert {one.name for one in fixed.nodes} == {"totals"}

    facts = (stack.repository / "models" / "facts.sql").read_text()
    changed = facts.replace("id, amount from", "id, amount, 'new' as kind from")
    stack.live(stack.commit("A new column", facts=changed, endless=ENDLESS))
    refreshed = stack.run(operation="full_refresh", select="facts+", keep_views=True)
    assert refreshed.state is RunState.SUCCESS, refreshed.detail
    assert rows(stack, "select kind, count(*) from analytics.facts group by 1") == [("new", 3)]
    assert rows(stack, "select count(*) from analytics_reporting.facts_view") == [(3,)]

    endless = stack.ask(select="endless")
    next(one for one in stack.client.follow(endless.id, print) if one.kind == "node_started")
    waiting = stack.ask(select="numbers")
    assert stack.client.cancel(endless.id, "the test").state is RunState.CANCELLED
    after = stack.over(waiting)
    assert after.state is RunState.SUCCESS, (after.detail, after.nodes)
