"""The history of nodes in a ledger that holds 100,000 runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from mage_dbt.launcher.postgres import Postgres
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.node_history import NodeHistory

NODE = "model.shop.fct_orders"

TESTS = [f"test.shop.check_{number}" for number in range(20)]

MODELS = [NODE, *(f"model.shop.m{number}" for number in range(49))]

MANY_RUNS = """
insert into ledger.run (
    id, asked_at, operation, cause, caller, why, request, commit, commit_subject, target,
    dbt_version, late_seconds
)
select
    '20260101-000000-' || lpad(to_hex(number), 6, '0'),
    now() - make_interval(mins => number * 10),
    case when number % 50 = 7 then 'full_refresh' else 'build' end,
    'api', 'Kim', '', case when number % 40 = 3 then '{"command": "compile"}'::jsonb
        else '{}'::jsonb end,
    '3f2c1ab', 'A change', case when number % 30 = 9 then 'dev' else 'prod' end, '1.11', 0
from generate_series(0, 99999) as number
"""

RESULTS = """
insert into ledger.node_result (
    run, node, at, name, type, status, seconds, rows, message, because, relation, materialized
)
select
    '20260101-000000-' || lpad(to_hex(number), 6, '0'), node,
    now() - make_interval(mins => number * 10), split_part(node, '.', 3), split_part(node, '.', 1),
    case
        when node like 'test.%%' and number %% 200 = 0 then 'fail'
        when node like 'test.%%' then 'pass'
        when number %% 10 = 0 then 'skipped'
        when number %% 25 = 1 then 'error'
        else 'success'
    end,
    number %% 7, number, '', '', '', ''
from generate_series(0, 99999, %(step)s) as number, unnest(%(nodes)s::text[]) as node
"""


@pytest.fixture(scope="module")
def history(postgres: Postgres) -> Iterator[NodeHistory]:
    """Every run has the model; one in 24 is a whole build with its tests and other models."""
    with psycopg.connect(postgres.url("ledger"), autocommit=True) as connection:
        connection.execute(MANY_RUNS)
        connection.execute(RESULTS, {"step": 1, "nodes": [NODE]})
        connection.execute(RESULTS, {"step": 24, "nodes": MODELS[1:] + TESTS})
        connection.execute("vacuum analyze ledger.run, ledger.node_result")
    ledger = Ledger(postgres.url("runner"))
    ledger.open()
    yield NodeHistory(ledger)
    ledger.close()


def test_the_last_results_say_which_of_them_built_the_node(history: NodeHistory) -> None:
    results = history.results(NODE, 90)
    assert len(results) == 90
    assert [past.status for past in results[:3]] == ["skipped", "error", "success"]
    assert [past.built for past in results[:4]] == [False, False, True, False], "it was compiled"
    assert results[0].at > results[-1].at


def test_the_last_result_of_many_nodes_leaves_skipped_ones_out(history: NodeHistory) -> None:
    last = history.last([*MODELS, *TESTS, "model.shop.nowhere"])
    assert len(last) == len(MODELS) + len(TESTS)
    assert last[NODE].status == "error"
    assert last[TESTS[0]].status == "fail"


def test_what_a_node_usually_takes_is_known_for_a_page_of_them(history: NodeHistory) -> None:
    usual = history.usual_seconds(MODELS, "prod")
    assert usual.keys() == set(MODELS)
    assert 0 <= usual[NODE] <= 6


def test_the_last_build_of_a_node_is_found(history: NodeHistory) -> None:
    built = history.last_built(NODE, "prod")
    assert built is not None and built.status == "success"
    assert history.last_built(NODE, "nowhere") is None


def test_failures_are_counted_by_days(history: NodeHistory) -> None:
    now = datetime.now(UTC)
    month, quarter = now - timedelta(days=30), now - timedelta(days=90)
    found = history.failures(TESTS, month, quarter)
    record = found[TESTS[0]]
    # A whole build every four hours; of every 25 the first fails.
    assert record.results == 540
    assert record.known_since is not None and record.known_since >= quarter
    assert (record.failures_30, record.failures_90) == (8, 22)
    assert record.failed_at is not None
    assert record.failed_run == "20260101-000000-000000"


def test_a_node_that_never_ran_has_no_history(history: NodeHistory) -> None:
    assert history.results("model.shop.nowhere", 90) == ()
    assert history.identity("model.shop.nowhere") is None
    assert history.last_built("model.shop.nowhere", "prod") is None
    assert history.last([]) == {}
    assert history.usual_seconds([], "prod") == {}
