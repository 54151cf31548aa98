"""An analyst with nothing but a browser: opens Mage, clicks, and reads what came of it."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, ViewportSize

from mage_dbt.model.run import Run, RunState
from mage_dbt.model.status import LiveCommit
from tests.harness.repository import git
from tests.harness.waiting import SECONDS, wait_until
from tests.harness.workspace import Workspace

PANEL_WIDTHS = ((1720, 900), (1366, 768))
"""Windows of a desk's screen and of a small laptop."""

TOO_LARGE = re.compile(r"[1-9]\d{0,2}e([4-9]\d\d|[1-9]\d{3,4})")
WITH_EXPONENT = re.compile(r"[1-9]\d{2,3}e\d{1,2}")
DIGITS = re.compile(r"[1-9]\d{6}")
"""Beginnings of a SHA that JSON reads as a number: infinite, another, and the same."""

SHAPE = re.compile(r"\d+ rows? x \d+ column")
"""What Mage writes under a block's table."""

BOXES = "texts => texts.map(text => text.getBoundingClientRect().toJSON())"
"""Where elements are in the window, of one moment; without an area where one is not shown."""

HASH_OBJECT = ("git", "hash-object", "-t", "commit", "-w")


class Desk:
    """The browser's page, and the workspace behind it."""

    def __init__(self, workspace: Workspace, page: Page) -> None:
        self.workspace = workspace
        self.page = page
        self._before = {run.id for run in workspace.client.runs(limit=500)}

    def open(self, path: str) -> None:
        self.page.goto(self.workspace.mage_url + path)

    def run_once(self, pipeline: str, **typed: str) -> None:
        """Run@once on the pipeline's page, with values typed into the boxes of these names."""
        self.open(f"/pipelines/{pipeline}/triggers")
        self.page.get_by_text("Run@once").click()
        self.page.get_by_text("Run pipeline now").wait_for()
        for name, value in typed.items():
            row = self.page.locator("tr", has=self.page.get_by_text(name, exact=True))
            row.get_by_placeholder("Variable value").fill(value)
        self.page.get_by_role("button", name="Run now").click()

    def new_run(self) -> Run:
        """The run that a click has led to, when it is over."""

        def probe() -> Run | str:
            new = [run for run in self.workspace.client.runs() if run.id not in self._before]
            if not new:
                return "no new run"
            return new[0] if new[0].state.final else f"the run is {new[0].state}"

        run = wait_until("the clicked run to be over", probe)
        self._before.add(run.id)
        assert run.mage_run is not None
        self.workspace.ended(run.mage_run)
        return run

    def newest(self, pipeline: str, after: int) -> int:
        """The number of the pipeline's first pipeline run after this one, when that is over."""

        def probe() -> int | str:
            numbers = self.numbers(pipeline)
            return min((one for one in numbers if one > after), default=0) or "none yet"

        number = wait_until(f"a pipeline run of {pipeline}", probe)
        self.workspace.ended(number)
        return number

    def numbers(self, pipeline: str) -> list[int]:
        asked = f"{self.workspace.mage_url}/api/pipeline_runs?pipeline_uuid={pipeline}"
        runs = self.page.request.get(asked).json()["pipeline_runs"]
        return [int(one["id"]) for one in runs]

    def trigger_of(self, number: int) -> str:
        """The name of the trigger of a pipeline run."""
        block = self.workspace.pipeline_run(number)["block_runs"][0]
        return str(block["pipeline_schedule_name"])

    def last(self, pipeline: str) -> int:
        return max(self.numbers(pipeline), default=0)

    def click_block(self, pipeline: str, number: int, status: str, *wanted: str) -> str:
        """Opens a pipeline run and clicks on the line of its block; gives all the page shows.

        Waits until the page shows the block's table, and `wanted` in it.
        """
        self.open(f"/pipelines/{pipeline}/runs/{number}")
        cell = self.page.locator("td", has=self.page.get_by_text(status, exact=True)).first
        # The line itself, not one of its links.
        cell.click(position={"x": 2, "y": 2})
        return self.page_with(*wanted)

    def page_with(self, *wanted: str) -> str:
        """All the page shows, once that has a block's table and `wanted`.

        The page takes the table away and draws it again when it has asked Mage for news, so one
        look may find nothing.
        """

        def probe() -> list[str] | str:
            shown = self.page.inner_text("body")
            missing = [text for text in wanted if text not in shown]
            if missing or not SHAPE.search(shown):
                return f"without {missing or 'a table'}: {shown}"
            return [shown]

        return wait_until(f"the page to show {wanted}", probe)[0]

    def wait_until_in_window(self, text: str) -> None:
        """Waits until the text can be seen without scrolling or dragging."""
        size = self.page.viewport_size
        assert size is not None

        def probe() -> bool | str:
            boxes = self.page.get_by_text(text).evaluate_all(BOXES)
            return any(_is_within(box, size) for box in boxes) or f"it is at {boxes} of {size}"

        wait_until(f"{text!r} to be in the window", probe)

    def forget(self) -> None:
        """Makes the browser that of somebody who was never here.

        Leaves the page, which saves the widths of its panels when the window's size changes.
        """
        self.page.evaluate("localStorage.clear()")
        self.page.goto("about:blank")


def _is_within(box: Mapping[str, float], size: ViewportSize) -> bool:
    """Whether the beginning of what is in the box is in the window."""
    return (
        box["width"] > 0
        and box["height"] > 0
        and box["x"] >= 0
        and box["x"] + min(box["width"], 100) <= size["width"]
        and box["y"] + min(box["height"], 20) <= size["height"]
    )


@pytest.fixture
def desk(workspace: Workspace, page: Page) -> Desk:
    return Desk(workspace, page)


def test_an_analyst_runs_one_model_again_and_reads_the_result(desk: Desk) -> None:
    desk.open("/pipelines")
    desk.page.get_by_text("single_model_rerun").first.wait_for()
    desk.run_once("single_model_rerun", model="facts")
    run = desk.new_run()
    assert run.state is RunState.SUCCESS and run.caller == "somebody in Mage"
    assert run.mage_run is not None
    wanted = ("3 rows x 6 columns", "facts", "success")
    desk.click_block("single_model_rerun", run.mage_run, "completed", *wanted)

    desk.open(f"/pipelines/single_model_rerun/logs?pipeline_run_id[]={run.mage_run}")
    desk.page.get_by_text("success facts").first.wait_for()
    address = f"http://127.0.0.1:{desk.workspace.settings.runner_port}/runs/{run.id}"
    desk.page.get_by_text(address).first.wait_for()

    # The trigger that it took says what it was, and is not left among those that one can use.
    trigger = desk.trigger_of(run.mage_run)
    assert trigger.startswith("Run once, ")
    desk.open("/pipelines/single_model_rerun/runs")
    desk.page.get_by_text(trigger).first.wait_for()
    desk.open("/pipelines/single_model_rerun/triggers")
    desk.page.get_by_text("API", exact=True).first.wait_for()
    assert trigger not in desk.page.inner_text("body")


def test_the_form_leads_to_a_run_without_a_name_that_nobody_asked_for(desk: Desk) -> None:
    page = desk.page
    desk.open("/pipelines/single_model_rerun/triggers")
    page.get_by_text("Create trigger with no-code").click()
    page.get_by_role("button", name="CUSTOMIZE", exact=True).click()
    page.get_by_text("The model to build and test again").wait_for()
    offered = page.locator("select option").all_inner_texts()
    assert "facts" in offered and "numbers: Numbers and ten times as much." in offered
    page.get_by_role("button", name="Back: Settings").click()
    page.get_by_text("How would you like this pipeline to be triggered?").wait_for()
    page.get_by_text("Schedule", exact=True).click()
    page.locator("select").first.select_option("@once")
    page.get_by_role("button", name="Next: Customize").click()
    page.locator("select").first.select_option("numbers")
    page.get_by_role("button", name="Next: Review").click()
    page.get_by_text("Filled in for you").wait_for()
    assert "This is required" not in page.inner_text("body")
    page.locator("input[type=checkbox] + span").last.click()  # to be active immediately
    page.get_by_role("button", name="Create trigger").click()
    run = desk.new_run()
    assert run.state is RunState.SUCCESS and run.request.models == ("numbers",)
    assert "Record is invalid" not in page.inner_text("body")


def test_a_full_refresh_previews_and_names_what_would_be_lost(desk: Desk) -> None:
    pipeline = "incremental_full_refresh"
    for width, height in PANEL_WIDTHS:
        desk.page.set_viewport_size({"width": width, "height": height})
        before, runs = desk.last(pipeline), len(desk.workspace.client.runs(limit=500))
        desk.run_once(pipeline, model="facts", in_place="true")
        number = desk.newest(pipeline, before)
        lost = "analytics_reporting.facts_view is dropped along, and put back"
        how = "To do it, run it again with `preview` set to false."
        desk.click_block(pipeline, number, "completed", lost, how)
        desk.wait_until_in_window("is dropped along, and put back")
        assert len(desk.workspace.client.runs(limit=500)) == runs


def test_a_switch_that_is_no_switch_is_refused_in_a_sentence(desk: Desk) -> None:
    pipeline = "single_model_rerun"
    for typed, said in (("ture", "'ture'"), ("1e999", "'1e999'"), ("null", "null"), ("", "empty")):
        before, runs = desk.last(pipeline), len(desk.workspace.client.runs(limit=500))
        desk.run_once(pipeline, model="facts", preview=typed)
        number = desk.newest(pipeline, before)
        desk.click_block(pipeline, number, "failed", f"`preview` is true or false, not {said}")
        assert len(desk.workspace.client.runs(limit=500)) == runs
    desk.open(f"/pipelines/{pipeline}/logs?pipeline_run_id[]={number}")
    desk.page.get_by_text("`preview` is true or false").first.click()
    desk.page.get_by_text("Errors", exact=True).wait_for()  # the line's own panel
    shown = desk.page.inner_text("body")
    assert "Traceback" not in shown and "site-packages" not in shown and ".py" not in shown


def test_the_reason_is_read_without_dragging_anything(desk: Desk) -> None:
    pipeline = "single_model_rerun"
    number = desk.workspace.trigger(pipeline, model="numbers", variables="size: 1 / 0")
    assert desk.workspace.ended(number) == "failed"
    for width, height in PANEL_WIDTHS:
        desk.page.set_viewport_size({"width": width, "height": height})
        desk.click_block(pipeline, number, "failed")
        desk.wait_until_in_window("division by zero")
        desk.forget()


def test_run_once_on_every_morning_builds_or_shows_todays_build(desk: Desk) -> None:
    pipeline, page = "daily_full_build", desk.page
    before = desk.last(pipeline)
    desk.open(f"/pipelines/{pipeline}/triggers")
    page.get_by_text("Every morning", exact=True).first.click()
    # The list of triggers, which stays until the trigger's page is there, has a Run@once too.
    page.get_by_text("Edit trigger", exact=True).wait_for()
    page.get_by_role("button", name="Run@once").click()
    number = desk.newest(pipeline, before)
    assert desk.workspace.ended(number) == "completed"
    shown = desk.click_block(pipeline, number, "completed", "facts", "success")
    assert "missing column headers" not in shown


def test_another_time_for_every_morning_is_refused_where_it_is_saved(desk: Desk) -> None:
    page = desk.page
    cron = page.get_by_placeholder("* * * * *")

    def shown_cron() -> bool | str:
        desk.open("/pipelines/daily_full_build/triggers")
        page.get_by_text("Every morning", exact=True).first.click()
        page.get_by_text("Edit trigger", exact=True).click()
        try:
            cron.wait_for(timeout=SECONDS * 1000 / 5)
        except PlaywrightError:  # Mage's page does not ask again for what it did not get
            return page.inner_text("body")
        return True

    wait_until("the page to show the time", shown_cron)
    cron.fill("30 22 * * *")
    page.get_by_role("button", name="Save changes").click()
    page.get_by_text("Nothing was saved. The time of 'Every morning'").wait_for()
    shown = page.inner_text("body")
    assert "on the workspace's page Settings" in shown and "Traceback" not in shown


def test_a_guide_leads_to_the_page_and_names_the_live_commit(desk: Desk) -> None:
    file = desk.workspace.home.mage_project / "markdowns" / "about_rerun_failed.md"

    def named() -> LiveCommit | str:
        live, text = desk.workspace.client.status().live, file.read_text()
        return live if live and f"Live: `{live.sha[:7]}`" in text else text

    live = wait_until("the guide to name the live commit", named)
    desk.open("/pipelines/rerun_failed/edit")
    link = desk.page.get_by_role("link", name="Open the page")
    link.wait_for()
    guide = desk.page.locator("body").inner_text()
    assert f"Live: {live.sha[:7]} {live.subject}." in guide
    link.evaluate("link => link.target = '_self'")
    link.click()
    address = f"http://127.0.0.1:{desk.workspace.settings.runner_port}/"
    desk.page.wait_for_url(address)
    desk.page.get_by_role("navigation").get_by_text("Runs").wait_for()
    desk.page.get_by_role("link", name="Mage", exact=True).click()
    desk.page.wait_for_url(f"{desk.workspace.mage_url}/**")


def test_a_closed_page_leads_back(desk: Desk) -> None:
    for path in ("/terminal", "/version-control"):
        desk.open(path)
        desk.page.get_by_text("This part of Mage is closed here").wait_for()
        desk.page.get_by_text("Back to the pipelines").click()
        desk.page.get_by_text("single_model_rerun").first.wait_for()
        assert desk.page.url.endswith("/pipelines") or "/pipelines?" in desk.page.url
    for address in ("/terminal", "/version-control"):
        assert not desk.page.locator(f'a[href="{address}"]').first.is_visible()


@pytest.fixture
def versions(workspace: Workspace) -> Iterator[list[tuple[str, int]]]:
    """Commits whose SHA begins like a number, each with the value that its model then has; another
    is the newest."""
    made = []
    for value, form in enumerate((TOO_LARGE, WITH_EXPONENT, DIGITS), 10):
        workspace.commit(f"Value {value}", which=f"select {value} as value")
        made.append((begin_as(workspace, form)[:7], value))
    workspace.publish("The newest", which="select 99 as value")
    yield made
    workspace.publish("Without it", which=None)


def begin_as(workspace: Workspace, form: re.Pattern[str]) -> str:
    """Makes a commit like the last one whose SHA begins so, in seven digits."""
    parent, tree = (git(workspace.repository, "rev-parse", one) for one in ("HEAD", "HEAD^{tree}"))
    who = "Kim <kim@example.com> 1795890000 +0000"
    for number in range(1_000_000):
        body = f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nSame {number}\n"
        data = body.encode()
        sha = hashlib.sha1(b"commit %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if form.fullmatch(sha[:7]):
            subprocess.run(
                [*HASH_OBJECT, "--stdin"],
                cwd=workspace.repository,
                input=data,
                check=True,
                capture_output=True,
            )
            git(workspace.repository, "reset", "--quiet", "--hard", sha)
            return sha
    raise AssertionError(form.pattern)


def test_a_version_that_looks_like_a_number_is_the_one_that_is_built(
    desk: Desk, versions: list[tuple[str, int]]
) -> None:
    query: Callable[..., list[tuple[int]]] = desk.workspace.query
    for typed, value in (*versions, (f'"{versions[0][0]}"', versions[0][1])):
        desk.run_once("single_model_rerun", model="which", commit=typed)
        run = desk.new_run()
        assert run.state is RunState.SUCCESS, run.detail
        assert run.commit.startswith(typed.strip('"'))
        assert query("select value from analytics.which") == [(value,)]
