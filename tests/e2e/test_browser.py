"""An analyst with nothing but a browser: opens Mage, runs a model again, reads what came of it."""

from __future__ import annotations

from playwright.sync_api import Page

from mage_dbt.run import RunState
from tests.harness.waiting import wait_until
from tests.harness.workspace import Workspace


def test_an_analyst_runs_one_model_again_and_reads_the_result(
    workspace: Workspace, page: Page
) -> None:
    address = workspace.mage_url
    page.goto(f"{address}/pipelines")
    page.get_by_text("single_model_rerun").first.wait_for()

    page.goto(f"{address}/pipelines/single_model_rerun/triggers")
    page.get_by_text("Run@once").click()
    page.get_by_text("Run pipeline now").wait_for()
    page.get_by_placeholder("Variable value").first.fill("facts")
    before = {run.id for run in workspace.client.runs(limit=500)}
    page.get_by_role("button", name="Run now").click()

    def probe() -> list[int] | str:
        new = [run for run in workspace.client.runs() if run.id not in before]
        if not new:
            return "no new run"
        run = new[0]
        assert run.mage_run is not None
        return [run.mage_run] if run.state.final else f"the run is {run.state}"

    number = wait_until("the clicked run to be over", probe, 120)[0]
    assert workspace.ended(number) == "completed"
    assert workspace.run_of(number).state is RunState.SUCCESS

    page.goto(f"{address}/pipelines/single_model_rerun/runs/{number}")
    done = page.get_by_text("completed", exact=True).first
    done.wait_for()
    box = done.bounding_box()
    assert box is not None
    page.mouse.click(930, box["y"] + box["height"] / 2)  # the line itself, not one of its links
    page.get_by_text("3 rows x 6 columns").wait_for()
    shown = page.inner_text("body")
    assert "facts" in shown and "success" in shown

    page.goto(f"{address}/pipelines/single_model_rerun/logs?pipeline_run_id[]={number}")
    page.get_by_text("success facts").first.wait_for()


def test_the_forms_list_offers_the_models_by_name(workspace: Workspace, page: Page) -> None:
    address = workspace.mage_url
    page.goto(f"{address}/pipelines/single_model_rerun/triggers")
    page.get_by_text("Create trigger with no-code").click()
    page.get_by_role("button", name="CUSTOMIZE", exact=True).click()
    page.get_by_text("Which model to build and test again").wait_for()
    offered = page.locator("select option").all_inner_texts()
    assert "facts" in offered and "numbers: Numbers and ten times as much." in offered
