"""The whole way: a pipeline run in Mage, our block, the runner, dbt, the ledger, and back."""

from __future__ import annotations

from typing import Any

import pytest

from mage_dbt.run import RunState
from tests.e2e.models import BAD, GOOD, sleepy
from tests.harness.repository import git, git_commit
from tests.harness.waiting import wait_until
from tests.harness.workspace import Workspace


def test_the_first_start_built_once_through_mage(workspace: Workspace) -> None:
    started = [run for run in workspace.client.runs(limit=500) if run.cause == "start"]
    assert len(started) == 1 and started[0].state is RunState.SUCCESS
    number = started[0].mage_run
    assert number is not None and workspace.ended(number) == "completed"
    assert started[0].morning is None  # a new workspace has missed no morning
    assert "Success in" in workspace.output()


def test_a_pipeline_run_leaves_a_row_a_node_and_readable_lines(workspace: Workspace) -> None:
    number = workspace.trigger("single_model_rerun", model="facts", why="the test asks")
    assert workspace.ended(number) == "completed"
    table = workspace.table(number)
    assert table["facts"]["status"] == "success" and table["facts"]["rows"] == 3
    assert "unique_facts_id" in table
    log = workspace.block_log("single_model_rerun", number)
    assert '"message": "Plan: 3 nodes"' in log
    assert "success  facts" in log
    run = workspace.run_of(number)
    assert run.why == "the test asks" and run.request["models"] == ["facts"]


def test_a_preview_runs_nothing_and_shows_what_would_be_dropped(workspace: Workspace) -> None:
    before = workspace.client.runs(limit=500)
    number = workspace.trigger(
        "incremental_full_refresh", model="facts", with_downstream=False, preview=True
    )
    assert workspace.ended(number) == "completed"
    assert workspace.client.runs(limit=500) == before
    log = workspace.block_log("incremental_full_refresh", number)
    assert "Preview: nothing is changed" in log
    assert "analytics_reporting.facts_view" in log and "not rebuilt" in log
    assert workspace.table(number)["facts"]["type"] == "model"


def test_a_full_refresh_rebuilds_the_model_and_what_depends_on_it(workspace: Workspace) -> None:
    number = workspace.trigger("incremental_full_refresh", model="facts", why="a new column")
    assert workspace.ended(number) == "completed"
    assert {"facts", "facts_view", "totals"} <= workspace.table(number).keys()


@pytest.mark.parametrize(
    ("pipeline", "variables", "says"),
    [
        ("single_model_rerun", {"model": "fact"}, "Did you mean facts"),
        ("single_model_rerun", {"model": ""}, "No model was chosen"),
        ("single_model_rerun", {"model": "facts", "variables": "- [x"}, "cannot be read"),
        ("dbt_command", {"command": "clean"}, "not allowed here"),
        ("dbt_command", {"command": "build; rm -rf x"}, "not allowed here"),
    ],
)
def test_what_cannot_be_done_fails_the_pipeline_with_the_reason(
    workspace: Workspace, pipeline: str, variables: dict[str, Any], says: str
) -> None:
    number = workspace.trigger(pipeline, **variables)
    assert workspace.ended(number) == "failed"
    assert says in workspace.block_log(pipeline, number)


def test_a_variable_that_nothing_seems_to_read_is_warned_of(workspace: Workspace) -> None:
    number = workspace.trigger("single_model_rerun", model="facts", variables="sise: 3")
    assert workspace.ended(number) == "completed"
    assert "Did you mean size" in workspace.block_log("single_model_rerun", number)


def test_a_failure_fails_run_block_and_pipeline_and_retry_reruns_only_what_is_left(
    workspace: Workspace,
) -> None:
    workspace.publish("Break facts", facts=BAD)
    number = workspace.trigger("daily_full_build")
    assert workspace.ended(number) == "failed"
    failed = workspace.run_of(number)
    assert failed.state is RunState.ERROR
    table = workspace.table(number)
    assert table["facts"]["status"] == "error" and "division by zero" in table["facts"]["why"]
    assert table["totals"]["why"] == "skipped because facts did not pass"
    assert "division by zero" in workspace.block_log("daily_full_build", number)

    # Not repaired: the retry reruns what is left, and fails again.
    workspace.retry(number)
    wait_until(
        "the retry to have its run",
        lambda: workspace.run_of(number).id != failed.id or "still the first",
        60,
    )
    again = workspace.over(workspace.run_of(number))
    assert workspace.ended(number) == "failed"
    assert again.follows == failed.id and again.state is RunState.ERROR
    assert {one.name for one in again.nodes} >= {"facts", "totals", "facts_view"}
    assert not {one.name for one in again.nodes} & {"numbers", "apart", "labels"}

    workspace.publish("Repair facts", facts=GOOD)
    workspace.retry(number)
    assert workspace.ended(number, "completed") == "completed"
    last = workspace.run_of(number)
    assert last.state is RunState.SUCCESS and last.follows == again.id
    assert not {one.name for one in last.nodes} & {"numbers", "apart", "labels"}


def test_cancelling_in_mage_stops_the_sql_and_a_retry_takes_up_what_is_left(
    workspace: Workspace,
) -> None:
    workspace.publish("Sleep", apart=sleepy(60))
    number = workspace.trigger("single_model_rerun", model="apart totals")
    workspace.until_at_work("pg_sleep")
    workspace.cancel(number)
    workspace.until_idle("pg_sleep", 5)
    run = workspace.over(workspace.run_of(number))
    assert run.state is RunState.CANCELLED
    assert run.detail == "Cancelled by somebody: its pipeline run was cancelled in Mage."
    assert workspace.ended(number) == "cancelled"

    workspace.publish("Wake", apart="select 1 as id")
    workspace.retry(number)
    assert workspace.ended(number, "completed", "failed") == "completed"
    last = workspace.run_of(number)
    assert last.follows == run.id and last.state is RunState.SUCCESS


def test_cancelling_with_the_tool_fails_the_pipeline(workspace: Workspace) -> None:
    workspace.publish("Sleep", apart=sleepy(60))
    number = workspace.trigger("single_model_rerun", model="apart")
    workspace.until_at_work("pg_sleep")
    workspace.client.cancel(workspace.run_of(number).id, "by the test")
    assert workspace.ended(number) == "failed"
    assert "by the test" in workspace.block_log("single_model_rerun", number)


def test_a_run_outlives_a_killed_mage_and_its_block_attaches_again(workspace: Workspace) -> None:
    workspace.publish("Sleep", apart=sleepy(25))
    number = workspace.trigger("single_model_rerun", model="apart")
    workspace.until_at_work("pg_sleep")
    run = workspace.run_of(number)
    restarts = int(workspace.kept("mage")["restarts"])
    workspace.child("mage").kill()
    assert workspace.over(run).state is RunState.SUCCESS
    workspace.wait_until_up("mage", restarts + 1)
    assert workspace.ended(number) == "completed"
    assert [one.id for one in workspace.client.runs(mage_run=number)] == [run.id]
    assert workspace.table(number)["apart"]["status"] == "success"


def test_the_forms_offer_the_live_commits_models(workspace: Workspace) -> None:
    forms = workspace.home.mage_project / "interactions"
    workspace.publish("A new model", brand_new="select 1 as id")
    wait_until(
        "the form to offer brand_new",
        lambda: "brand_new" in (forms / "single_model_rerun.yaml").read_text() or "not yet",
        10,
    )
    refresh = (forms / "incremental_full_refresh.yaml").read_text()
    assert "facts" in refresh and "brand_new" not in refresh
    git(workspace.repository, "rm", "--quiet", "models/brand_new.sql")
    git_commit(workspace.repository, "Remove it")


def test_the_template_dbt_model_works_in_a_pipeline_of_an_analysts_own(
    workspace: Workspace,
) -> None:
    templates = workspace.home.mage_project / "custom_templates" / "blocks"
    template = (templates / "dbt_model" / "dbt_model.py").read_text()
    code = template.replace('select="my_model"', 'select="numbers+"')
    workspace.add_pipeline("my_step", code)
    number = workspace.trigger("my_step")
    assert workspace.ended(number) == "completed"
    assert {"numbers", "facts", "totals"} <= workspace.table(number).keys()
