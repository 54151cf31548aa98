"""What the docs promise of any adapter, on DuckDB: runs in an environment that has dbt-duckdb.

`tests/warehouse/test_other_adapter.py` runs it, every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.runner import Runner

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
def runner(tmp_path_factory: pytest.TempPathFactory, server: Database) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("runner")
    profiles = folder / "profiles"
    profiles.mkdir()
    (profiles / "profiles.yml").write_text(PROFILE.format(path=folder / "warehouse.duckdb"))
    # DuckDB's file is for one process at a time.
    settings = {"DBT_PROFILES_DIR": str(profiles), "RUNNER_PARALLEL_RUNS": "1"}
    with runners.on_project(folder, server, "plain_sql", **settings) as found:
        yield found


def rows(runner: Runner, sql: str) -> list[Any]:
    assert runner.settings.dbt_profiles_dir is not None
    file = runner.settings.dbt_profiles_dir.parent / "warehouse.duckdb"
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_the_main_job_a_failure_and_its_rerun_a_full_refresh_and_a_cancel(runner: Runner) -> None:
    built = runner.run()
    assert built.state is RunState.SUCCESS, (built.detail, built.nodes)
    assert {one.name for one in built.nodes} == set(built.planned) and runner.how(built) == "warm"
    assert rows(runner, "select total from analytics.totals") == [(60,)]

    found = runner.client.plan(Request.parse({"select": "facts+"})).to_json()
    assert found["nodes"][0]["name"] == "facts"
    assert '"warehouse"."analytics"."facts"' in found["writes"] and found["warnings"] == []
    assert "On duckdb a plan does not know how many rows there are." in found["notes"]

    runner.live(runner.commit("Break", totals=TOTALS.replace("amount", "nothing")))
    failed = runner.run(select="facts+")
    assert failed.state is RunState.ERROR and "totals" in failed.detail
    runner.live(runner.commit("Repair", totals=TOTALS))
    fixed = runner.run(operation="rerun_failed", of=failed.id)
    assert fixed.state is RunState.SUCCESS, fixed.detail
    assert {one.name for one in fixed.nodes} == {"totals"}

    facts = (runner.repository / "models" / "facts.sql").read_text()
    changed = facts.replace("id, amount from", "id, amount, 'new' as kind from")
    runner.live(runner.commit("A new column", facts=changed, endless=ENDLESS))
    refreshed = runner.run(operation="full_refresh", select="facts+", keep_views=True)
    assert refreshed.state is RunState.SUCCESS, refreshed.detail
    assert rows(runner, "select kind, count(*) from analytics.facts group by 1") == [("new", 3)]
    assert rows(runner, "select count(*) from analytics_reporting.facts_view") == [(3,)]

    endless = runner.ask(select="endless")
    next(one for one in runner.client.follow(endless.id, print) if one.kind == "node_started")
    waiting = runner.ask(select="numbers")
    assert runner.client.cancel(endless.id, "the test").state is RunState.CANCELLED
    after = runner.over(waiting)
    assert after.state is RunState.SUCCESS, (after.detail, after.nodes)
