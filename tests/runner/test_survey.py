"""Where a commit's incremental models and their tables differ is found without a run, and shown."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.base.clock import Clock
from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from mage_dbt.model.status import Status
from mage_dbt.model.survey import Survey
from mage_dbt.tool.status_verbs import _status_lines
from tests.harness.repository import PROJECTS
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

PROJECT = "survey"

CONFIG = '{{{{ config(materialized="incremental"{more}) }}}}\n'

STANDING = (
    "select n.nspname::text, c.relname::text, c.oid from pg_class c join pg_namespace n"
    " on n.oid = c.relnamespace where n.nspname !~ '^pg_|^information_schema$' order by 1, 2"
)


def model(query: str, more: str = "") -> str:
    return CONFIG.format(more=f", {more}" if more else "") + query


def original(name: str) -> str:
    return (PROJECTS / PROJECT / "models" / f"{name}.sql").read_text()


STRICT = model(
    'select id::bigint as id, amount from {{ ref("stage") }}',
    "on_schema_change='fail', full_refresh=false",
)


def surveyed(runner: Runner, sha: str, *names: str) -> Survey:
    """Waits until the survey of the commit says that these models have changed."""

    def right(status: dict[str, Any]) -> bool:
        survey = status["survey"]
        if not survey or survey["commit"] != sha:
            return False
        return {changed["name"] for changed in survey["changed"]} == set(names)

    found = runner.until(f"the survey of {sha[:7]} to name {names}", right)
    return Survey.from_json(found["survey"])


@pytest.fixture(scope="module")
def changed(runner: Runner) -> str:
    """A commit with other columns than the tables that were built before it."""
    first = runner.answering()["live"]["sha"]
    built = runner.run()
    assert built.state is RunState.SUCCESS, built.detail
    surveyed(runner, first)
    stage = '{{ ref("stage") }}'
    return runner.publish(
        "Other columns",
        orders=original("orders").replace("select id, amount", "select id, amount, 'x' as State"),
        appended=model(
            f"select id, amount, 1.5 as rate from {stage}", "on_schema_change='append_new_columns'"
        ),
        strict=STRICT,
        quoted=model(
            f'select id as "order id", amount as "BETRÄGE" from {stage}', "alias='Quoted Orders'"
        ),
        fresh=model(f"select id from {stage}"),
        wrong=model("select nothing from {{ ref('stage') }}"),
    )


def test_a_commit_that_becomes_live_is_compared_with_the_tables(
    runner: Runner, changed: str
) -> None:
    runner.execute("create table analytics.wrong (id int)")
    runner.run(select="stage")
    survey = surveyed(runner, changed, "orders", "appended", "strict", "quoted")
    found = {model.name: model for model in survey.changed}
    assert [str(change) for change in found["orders"].columns] == ["+ state text"]
    assert [str(change) for change in found["appended"].columns] == ["+ rate numeric"]
    assert [str(change) for change in found["strict"].columns] == ["id integer -> bigint"]
    assert {str(change) for change in found["quoted"].columns} == {
        "+ order id integer",
        "- Order Id integer",
        "- plain integer",
    }
    assert found["quoted"].relation == "analytics.Quoted Orders"
    assert found["orders"].on_schema_change == "ignore" and not found["strict"].refreshable
    assert found["orders"].question == (
        "orders: 1 column in the model is not in the table (state); on_schema_change ignores it; "
        "refresh? ./scripts/mage-dbt run full_refresh --model orders"
    )


def test_the_status_shows_it(runner: Runner, changed: str) -> None:
    surveyed(runner, changed, "orders", "appended", "strict", "quoted")
    status = runner.client.status()
    lines = list(_status_lines(status, Clock(ZoneInfo("UTC"))))
    assert status.survey and f"columns   {status.survey.changed[0].question}" in lines
    assert Status.from_json(status.to_json()) == status


def test_the_plan_of_a_full_build_and_its_run_name_the_models(runner: Runner, changed: str) -> None:
    survey = surveyed(runner, changed, "orders", "appended", "strict", "quoted")
    questions = {model.question for model in survey.changed}
    full = runner.client.plan(Request.parse({}))
    assert questions <= set(full.warnings)
    some = runner.client.plan(Request.parse({"select": "orders"}))
    assert not questions & set(some.warnings)


def test_a_model_whose_columns_cannot_be_told_is_named_and_the_others_are_compared(
    runner: Runner, changed: str
) -> None:
    sha = runner.publish("Ask for the moon", wrong=model("select moon from {{ ref('stage') }}"))
    survey = surveyed(runner, sha, "orders", "appended", "strict", "quoted")
    assert 'wrong (column "moon" does not exist)' in survey.unknown
    runner.publish("Leave the moon", wrong=None)
    runner.execute("drop table analytics.wrong")


def test_a_survey_leaves_nothing_in_the_warehouse(runner: Runner, changed: str) -> None:
    before = runner.query(STANDING)
    sha = runner.publish("Say more", stage=f"-- more\n{original('stage')}")
    surveyed(runner, sha, "orders", "appended", "strict", "quoted")
    assert runner.query(STANDING) == before


def test_a_message_comes_once_for_each_model_and_set_of_columns(
    runner: Runner, changed: str
) -> None:
    def alerts() -> list[Any]:
        return runner.rows("ledger", "select key, kind, body from ledger.alert order by key")

    def probe() -> bool | str:
        return len(alerts()) == 4 or str(alerts())

    wait_until("alerts on four models", probe)
    assert {kind for _, kind, _ in alerts()} == {"news"}
    assert all("full_refresh --model orders" in body for _, _, body in alerts())
    sha = runner.publish("Say even more", stage=f"-- even more\n{original('stage')}")
    surveyed(runner, sha, "orders", "appended", "strict", "quoted")
    runner.run(select="stage")
    assert len(alerts()) == 4


def test_a_model_whose_upstream_is_not_built_yet_is_compared_all_the_same(
    runner: Runner, changed: str
) -> None:
    sha = runner.publish(
        "Add a price upstream",
        stage=original("stage").replace("as state", "as state, 2.5 as price"),
        between='{{ config(materialized="table") }}'
        'select id, price as cost from {{ ref("stage") }}',
        strict=model("select id, cost from {{ ref('between') }}", "on_schema_change='fail'"),
    )
    survey = surveyed(runner, sha, "orders", "appended", "strict", "quoted")
    strict = next(model for model in survey.changed if model.name == "strict")
    assert [str(change) for change in strict.columns] == [
        "+ cost numeric",
        "- amount numeric(10,2)",
    ]
    runner.publish("Take it back", stage=original("stage"), between=None, strict=STRICT)


def test_after_a_refresh_the_model_is_no_longer_named_and_its_former_table_is(
    runner: Runner, changed: str
) -> None:
    run = runner.run(operation="full_refresh", models="orders")
    assert run.state is RunState.SUCCESS, run.detail
    sha = runner.answering()["live"]["sha"]
    survey = surveyed(runner, sha, "appended", "strict", "quoted")
    assert [(kept.relation, kept.run) for kept in survey.kept] == [("analytics.orders", run.id)]
    assert survey.kept_bytes > 0
    lines = list(_status_lines(runner.client.status(), Clock(ZoneInfo("UTC"))))
    assert any(line.startswith("kept      1 former relation for undo_refresh, ") for line in lines)
    added = runner.run(select="appended")  # dbt adds the column to the table
    assert added.state is RunState.SUCCESS, added.detail
    surveyed(runner, sha, "strict", "quoted")
