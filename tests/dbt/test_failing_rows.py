"""The rows that failing tests find are kept with the run: some of them, and not every column."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from mage_dbt.base.redaction import STARS
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.failing_rows import FailingRowsOfRuns
from mage_dbt.model.run import Run, RunState
from tests.harness.runner import Runner

PROJECT = "twelve_failures"

CUSTOMERS = "test.twelve_failures.not_null_customers_name"


@pytest.fixture(scope="module")
def ledger(runner: Runner) -> Iterator[Ledger]:
    found = Ledger(runner.postgres.url("runner"))
    found.open()
    yield found
    found.close()


def kept(runner: Runner, run: Run) -> dict[str, dict[str, Any]]:
    query = "select data from ledger.event where run = %s and kind = 'failing_rows'"
    return {data["name"]: data for (data,) in runner.rows("ledger", query, run.id)}


def fail(runner: Runner, *nameless: int) -> Run:
    variables = {"failing": ["failing_test"], "nameless": [*nameless]}
    run = runner.run(models=["customers", "suppliers"], with_upstream=True, variables=variables)
    assert run.state is RunState.ERROR
    assert "not_null_customers_name" in run.detail
    return run


def test_whole_rows_are_kept_without_the_columns_that_are_secret_or_said_to_be_personal(
    runner: Runner,
) -> None:
    found = kept(runner, fail(runner, 3, 5))
    rows = found["not_null_customers_name"]
    assert rows["node"].startswith(CUSTOMERS)
    assert rows["columns"] == ["id", "name", "password", "mail", "note"]
    assert rows["hidden"] == ["password", "mail"]
    assert sorted(row["values"] for row in rows["rows"]) == [
        ["3", None, "•", "•", "paid 3"],
        ["5", None, "•", "•", "paid 5"],
    ]
    assert (rows["total"], rows["note"], len(rows["digests"])) == (2, "", 2)
    assert [row["values"] for row in found["not_null_suppliers_title"]["rows"]] == [["2", None]]


def test_the_comparison_of_a_refresh_hides_the_same_columns(runner: Runner) -> None:
    built = runner.run(models=["customers"], with_upstream=True, variables={"nameless": []})
    assert built.state is RunState.SUCCESS, built.detail
    runner.execute("update analytics.customers set mail = 'old@example.com' where id = 1")
    refreshed = runner.run(operation="full_refresh", models=["customers"])
    assert refreshed.state is RunState.SUCCESS, refreshed.detail
    [comparison] = [step.comparison for step in refreshed.refresh if step.comparison]
    values = {"id": "1", "name": "customer 1", "note": "paid 1"}
    hidden = {"password": STARS, "mail": STARS}
    assert comparison.only_before_rows == comparison.only_after_rows == (values | hidden,)


def test_the_next_failure_tells_which_rows_are_new(runner: Runner, ledger: Ledger) -> None:
    first, second = fail(runner, 2, 3), fail(runner, 3, 6)
    rows = FailingRowsOfRuns(ledger)
    assert isinstance(second.started_at, datetime)
    (now,) = (kept for node, kept in rows.of_run(second.id).items() if node.startswith(CUSTOMERS))
    before = rows.before([now.rows.node], second.target, second.started_at)
    assert before == {now.rows.node: rows.of_run(first.id)[now.rows.node]}
    marked = now.since(before[now.rows.node])
    assert sorted((row.values[0], row.new) for row in marked.rows) == [("3", False), ("6", True)]
    assert all(row.new is None for row in now.since(None).rows)


def test_they_are_read_as_the_role_that_the_setting_names_and_never_when_it_says_0(
    runner: Runner,
) -> None:
    runner.server.admin("create role row_reader; grant row_reader to {}", "dbt")
    runner.execute("grant usage on schema analytics to row_reader")
    runner.restart_runner(FAILING_ROWS_ROLE="row_reader")
    runner.answering()
    rows = kept(runner, fail(runner, 3))["not_null_customers_name"]
    assert rows["note"] == "Not read: permission denied for table customers"
    assert not rows["rows"] and not rows["digests"]
    runner.restart_runner(FAILING_ROWS="0")
    runner.answering()
    assert kept(runner, fail(runner, 3)) == {}
