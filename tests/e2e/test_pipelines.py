"""The whole way: a pipeline run in Mage, our block, the runner, dbt, the ledger, and back."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from mage_dbt.model.run import RunState
from tests.e2e.models import BAD, GOOD
from tests.harness.models import HELD, sleepy, waiting
from tests.harness.repository import git, git_commit
from tests.harness.waiting import SECONDS, wait_until
from tests.harness.workspace import Workspace

LOCK = 4711


def test_the_first_start_built_once_through_mage(workspace: Workspace) -> None:
    started = [run for run in workspace.client.runs(limit=500) if run.cause == "start"]
    assert len(started) == 1 and started[0].state is RunState.SUCCESS
    number = started[0].mage_run
    assert number is not None and workspace.ended(number) == "completed"
    assert started[0].morning is None  # a new workspace has missed no daily build
    assert "Success in" in workspace.output()


def test_a_pipeline_run_leaves_a_row_a_node_and_readable_lines(workspace: Workspace) -> None:
    number = workspace.trigger("single_model_rerun", model="facts", why="the test asks")
    assert workspace.ended(number) == "completed"
    table = workspace.table(number)
    assert table["facts"]["status"] == "success" and table["facts"]["rows"] == 3
    assert "unique_facts_id" in table
    log = workspace.block_log("single_model_rerun", number)
    assert '"message": "Plan: 3 nodes (' in log
    assert "success  facts" in log
    run = workspace.run_of(number)
    assert run.why == "the test asks" and run.request.models == ("facts",)


def test_a_preview_runs_nothing_and_shows_what_would_be_dropped(workspace: Workspace) -> None:
    before = workspace.client.runs(limit=500)
    # Nobody has said that it is to be a preview.
    number = workspace.trigger("incremental_full_refresh", model="facts", in_place=True)
    assert workspace.ended(number) == "completed"
    assert workspace.client.runs(limit=500) == before
    log = workspace.block_log("incremental_full_refresh", number)
    assert "Preview: nothing is changed" in log
    assert "analytics_reporting.facts_view is dropped along, and put back" in log
    table = workspace.table(number)
    assert table["facts"]["type"] == "model"
    assert "analytics_reporting.facts_view" in table["WARNING"]["why"]
    assert "`preview` set to false" in table["PREVIEW"]["why"]
    assert [*table][:2] == ["WARNING", "PREVIEW"]


def test_a_full_refresh_rebuilds_the_model_and_what_depends_on_it(workspace: Workspace) -> None:
    number = workspace.trigger(
        "incremental_full_refresh",
        model="facts",
        with_downstream=True,
        preview=False,
        why="a new column",
    )
    assert workspace.ended(number) == "completed"
    assert {"facts", "facts_view", "totals"} <= workspace.table(number).keys()


@pytest.mark.parametrize(
    ("pipeline", "variables", "says"),
    [
        ("single_model_rerun", {"model": "fact"}, "Did you mean facts"),
        ("single_model_rerun", {"model": ""}, "No model was chosen"),
        ("single_model_rerun", {"model": "facts", "variables": "- [x"}, "cannot be read"),
        ("incremental_full_refresh", {"model": "facts", "preview": ""}, "true or false, not empty"),
        ("incremental_full_refresh", {"model": "facts", "preview": None}, "or false, not null"),
        ("single_model_rerun", {"model": "facts", "with_upstream": "ja"}, "or false, not 'ja'"),
        ("dbt_command", {"command": "clean"}, "not allowed here"),
        ("dbt_command", {"command": "build; rm -rf x"}, "not allowed here"),
    ],
)
def test_what_cannot_be_done_fails_the_pipeline_with_the_reason(
    workspace: Workspace, pipeline: str, variables: dict[str, Any], says: str
) -> None:
    number = workspace.trigger(pipeline, **variables)
    assert workspace.ended(number) == "failed"
    log = workspace.block_log(pipeline, number)
    assert says in log and "Traceback" not in log
    assert says in workspace.shown(number)[0]["sample_data"]["rows"][0][0]


def test_a_variable_that_nothing_seems_to_read_is_warned_of(workspace: Workspace) -> None:
    number = workspace.trigger("single_model_rerun", model="facts", variables="sise: 3")
    assert workspace.ended(number) == "completed"
    assert "Did you mean size" in workspace.block_log("single_model_rerun", number)


def levels_in(log: str) -> dict[str, str]:
    """By words of interest, the level of the first line of Mage's log that holds them."""
    found: dict[str, str] = {}
    for line in log.splitlines():
        for words in ("division by zero", "error    facts", "success  numbers"):
            if words in line and (level := re.search(r'"level": "(\w+)"', line)):
                found.setdefault(words, level[1])
    return found


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
    (skipped,) = [one for one in table.values() if one["status"] == "skipped"]
    assert skipped["why"] == "skipped because facts did not pass"
    assert {"totals", "facts_view"} <= set(skipped["node"].split(", "))
    levels = levels_in(workspace.block_log("daily_full_build", number))
    assert levels["division by zero"] == levels["error    facts"] == "ERROR"
    assert levels["success  numbers"] == "INFO"

    # Not repaired: the retry reruns what is left, and fails again.
    workspace.retry(number)
    wait_until(
        "the retry to have its run",
        lambda: workspace.run_of(number).id != failed.id or "still the first",
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
    workspace.publish("Sleep", apart=sleepy())
    number = workspace.trigger("single_model_rerun", model="apart totals")
    workspace.until_at_work("pg_sleep")
    workspace.cancel(number)
    workspace.until_idle("pg_sleep")
    run = workspace.over(workspace.run_of(number))
    assert run.state is RunState.CANCELLED
    assert run.detail == "Cancelled: its pipeline run was cancelled in Mage."
    assert workspace.ended(number) == "cancelled"

    workspace.publish("Wake", apart="select 1 as id")
    workspace.retry(number)
    assert workspace.ended(number, "completed", "failed") == "completed"
    last = workspace.run_of(number)
    assert last.follows == run.id and last.state is RunState.SUCCESS


def test_cancelling_with_the_tool_fails_the_pipeline(workspace: Workspace) -> None:
    workspace.publish("Sleep", apart=sleepy())
    number = workspace.trigger("single_model_rerun", model="apart")
    workspace.until_at_work("pg_sleep")
    workspace.client.cancel(workspace.run_of(number).id, "by the test")
    assert workspace.ended(number) == "failed"
    assert "by the test" in workspace.block_log("single_model_rerun", number)


def test_a_run_outlives_a_killed_mage_and_its_block_attaches_again(workspace: Workspace) -> None:
    workspace.publish("Wait", apart=waiting(LOCK))
    with workspace.held(LOCK):
        number = workspace.trigger("single_model_rerun", model="apart")
        workspace.until_at_work(HELD)
        run = workspace.run_of(number)
        workspace.kill_and_wait("mage")
        assert workspace.client.run(run.id).state is RunState.RUNNING
    assert workspace.over(run).state is RunState.SUCCESS
    assert workspace.ended(number) == "completed"
    assert [one.id for one in workspace.client.runs(mage_run=number)] == [run.id]
    assert workspace.table(number)["apart"]["status"] == "success"


def test_the_forms_offer_the_live_commits_models(workspace: Workspace) -> None:
    forms = workspace.home.mage_project / "interactions"
    view = "{{ config(materialized='view') }} select 1 as id"  # nothing to refresh
    workspace.publish("A new model", brand_new=view)
    wait_until(
        "the form to offer brand_new",
        lambda: "brand_new" in (forms / "single_model_rerun.yaml").read_text() or "not yet",
    )
    refresh = (forms / "incremental_full_refresh.yaml").read_text()
    assert "facts" in refresh and "brand_new" not in refresh
    git(workspace.repository, "rm", "--quiet", "models/brand_new.sql")
    workspace.live(git_commit(workspace.repository, "Remove it"))


def test_a_trigger_named_as_the_schedule_is_none_and_does_what_it_says(
    workspace: Workspace,
) -> None:
    templates = workspace.home.mage_project / "custom_templates" / "blocks"
    template = (templates / "dbt_model" / "dbt_model.py").read_text()
    workspace.add_pipeline("part_of_it", template.replace('"my_model"', '"facts"'))
    daily = workspace.home.mage_project / "custom" / "daily_full_build.py"
    workspace.add_pipeline("all_of_it", daily.read_text())
    with httpx.Client(base_url=workspace.mage_url, timeout=SECONDS, trust_env=False) as http:
        numbers = {}
        for pipeline in ("part_of_it", "all_of_it"):
            once = {"schedule_type": "time", "schedule_interval": "@once", "status": "active"}
            path = f"/api/pipelines/{pipeline}/pipeline_schedules"
            made = http.post(path, json={"pipeline_schedule": {"name": "Every morning", **once}})
            numbers[pipeline] = _begun(http, made.json()["pipeline_schedule"]["id"])
        # "Run@once" on the schedule itself is somebody's too.
        schedules = http.get("/api/pipelines/daily_full_build/pipeline_schedules").json()
        (real,) = [one for one in schedules["pipeline_schedules"] if one["name"] == "Every morning"]
        path = f"/api/pipeline_schedules/{real['id']}/pipeline_runs"
        made = http.post(path, json={"pipeline_run": {"variables": {"why": "by hand"}}})
        numbers["Run@once"] = made.json()["pipeline_run"]["id"]
        # So is a run that is begun again, whatever the page says of its trigger and variables.
        trigger = workspace.trigger_id("daily_full_build")
        again = made.json()["pipeline_run"] | {
            **{"pipeline_schedule_id": trigger, "variables": {"cause": "start"}},
            "execution_date": "2126-11-24T08:00:00",  # the newest
        }
        asked = {"pipeline": {"status": "retry", "pipeline_runs": [again]}}
        assert "error" not in http.put("/api/pipelines/daily_full_build", json=asked).json()
        numbers["retry"] = _begun(http, trigger, after=max(numbers.values()))
    for pipeline, number in numbers.items():
        assert workspace.ended(number) == "completed"
        run = workspace.run_of(number)
        assert (run.cause, run.morning, run.state) == ("form", None, RunState.SUCCESS), pipeline
        wanted = {"facts"} if pipeline == "part_of_it" else {"facts", "numbers", "totals", "apart"}
        assert wanted <= workspace.table(number).keys()
    assert not {"numbers", "totals"} & workspace.table(numbers["part_of_it"]).keys()


def _begun(http: httpx.Client, schedule: int, after: int = 0) -> int:
    def probe() -> list[int] | str:
        answer = http.get(f"/api/pipeline_schedules/{schedule}/pipeline_runs").json()
        numbers = [int(one["id"]) for one in answer["pipeline_runs"]]
        return [one for one in numbers if one > after] or "no run yet"

    return wait_until("the trigger to fire", probe)[0]


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
