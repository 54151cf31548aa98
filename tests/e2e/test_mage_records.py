"""Runs asked for by the API are seen in Mage like any other, whatever happens to Mage meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from mage_dbt.errors import WorkspaceError
from mage_dbt.launcher.database_roles import SUPERUSER, WORKSPACE
from mage_dbt.mage import project
from mage_dbt.mage.api import as_the_runner
from mage_dbt.mage.project import API_TRIGGER
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from tests.e2e.models import BAD, GOOD
from tests.harness.models import sleepy
from tests.harness.waiting import SECONDS, wait_until
from tests.harness.workspace import Workspace


def ask(workspace: Workspace, **request: Any) -> Run:
    """What a chat bot does."""
    return workspace.client.submit(Request.parse({"caller": "a bot", **request}))


def recorded(workspace: Workspace, run: Run) -> int:
    """Waits for the run's pipeline run; gives its number."""

    def probe() -> int | str:
        return workspace.client.run(run.id).mage_run or f"none yet; in Mage: {seen(workspace, run)}"

    return wait_until(f"run {run.id} to be seen in Mage", probe)


def database(workspace: Workspace) -> psycopg.Connection[Any]:
    """The workspace's, with every right."""
    return workspace.connect(SUPERUSER, WORKSPACE)


def seen(workspace: Workspace, run: Run) -> list[int]:
    """Every pipeline run that Mage itself has for the run."""
    with database(workspace) as connection:
        rows = connection.execute(
            "select id from mage.pipeline_run where variables ->> 'run' = %s", [run.id]
        ).fetchall()
    return [row[0] for row in rows]


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """The process and all its children hang: they neither run nor refuse a connection."""
    hung = [process, *process.children(recursive=True)]
    for one in hung:
        with suppress(psutil.NoSuchProcess):  # a short one has ended meanwhile
            one.suspend()
    try:
        yield
    finally:
        for one in hung:
            with suppress(psutil.NoSuchProcess):
                one.resume()


def http(workspace: Workspace) -> httpx.Client:
    return httpx.Client(base_url=workspace.mage_url, timeout=SECONDS, trust_env=False)


def test_a_run_by_the_api_is_seen_in_mage_like_any_other(workspace: Workspace) -> None:
    run = ask(workspace, select="facts", why="the bot was asked")
    number = recorded(workspace, run)
    assert workspace.ended(number) == "completed"
    assert workspace.pipeline_run(number)["pipeline_uuid"] == "single_model_rerun"
    shown = workspace.pipeline_run(number)["variables"]
    assert (shown["model"], shown["why"], shown["asked_by"]) == (
        *("facts", "the bot was asked", "a bot"),
    )
    assert workspace.table(number)["facts"]["status"] == "success"
    log = workspace.block_log("single_model_rerun", number)
    assert run.id in log and '"message": "Plan: 3 nodes (' in log and "success  facts" in log
    assert "Asked for by a bot, through the API. Why: the bot was asked" in log
    assert seen(workspace, run) == [number]
    assert [one.id for one in workspace.client.runs(mage_run=number)] == [run.id]


def test_mages_own_trigger_takes_a_model_and_variables_and_runs_them_once(
    workspace: Workspace,
) -> None:
    variables = {"model": "numbers", "variables": {"size": 5}, "why": "a script"}
    number = workspace.trigger("single_model_rerun", **variables)
    assert workspace.ended(number) == "completed"
    assert workspace.table(number)["numbers"]["rows"] == 5
    (run,) = workspace.client.runs(mage_run=number)
    assert run.state is RunState.SUCCESS and run.request.variables == {"size": 5}
    assert seen(workspace, run) == []


def test_a_failed_run_by_the_api_fails_in_mage_and_both_ways_there_rerun_only_what_is_left(
    workspace: Workspace,
) -> None:
    passed = {"numbers", "apart", "labels"}
    workspace.publish("Break facts", facts=BAD)
    run = ask(workspace)
    number = recorded(workspace, run)
    assert workspace.ended(number) == "failed"
    assert workspace.pipeline_run(number)["pipeline_uuid"] == "daily_full_build"
    assert "division by zero" in workspace.table(number)["facts"]["why"]

    # Not repaired: it fails again, and leaves as much to do.
    rerun = workspace.trigger("rerun_failed", failed_run=run.id, why="is it the moment?")
    assert workspace.ended(rerun) == "failed"
    again = workspace.run_of(rerun)
    assert again.follows == run.id and not {one.name for one in again.nodes} & passed

    workspace.publish("Repair facts", facts=GOOD)
    preview = workspace.trigger("rerun_failed", failed_run=run.id, preview=True)
    assert workspace.ended(preview) == "completed"
    listed = workspace.table(preview).keys()
    assert {"facts", "totals"} <= listed and not listed & passed
    assert "Preview: nothing is changed" in workspace.block_log("rerun_failed", preview)
    assert workspace.client.runs(mage_run=preview) == []

    workspace.retry(number)
    assert workspace.ended(number, "completed") == "completed"
    last = workspace.run_of(number)
    assert last.follows == run.id and last.state is RunState.SUCCESS
    assert not {one.name for one in last.nodes} & passed
    assert seen(workspace, run) == [number]


def test_cancelling_it_in_mage_stops_the_sql(workspace: Workspace) -> None:
    workspace.publish("Sleep", apart=sleepy())
    run = ask(workspace, select="apart")
    number = recorded(workspace, run)
    workspace.until_at_work("pg_sleep")
    workspace.cancel(number)
    workspace.until_idle("pg_sleep")
    over = workspace.over(run)
    assert over.state is RunState.CANCELLED and "cancelled in Mage" in over.detail
    assert workspace.ended(number) == "cancelled"
    workspace.publish("Wake", apart="select 1 as id")


def test_a_run_goes_on_while_mage_hangs_and_is_seen_once_when_it_is_back(
    workspace: Workspace,
) -> None:
    log = workspace.home.logs / "runner.log"
    before = len(log.read_text())
    trigger = workspace.trigger_id("single_model_rerun")
    with stopped(workspace.child("mage")):
        run = ask(workspace, select="facts", why="Mage hangs")
        # As the runner's own, when Mage begins to hang between its question and its answer. It is
        # sent at once: before the question whose answer the runner waits for when Mage is back.
        with http(workspace) as client, pytest.raises(httpx.ReadTimeout):
            client.post(
                f"/api/pipeline_schedules/{trigger}/api_trigger",
                json={"pipeline_run": {"variables": {"run": run.id, "model": "unanswered"}}},
                headers={
                    **as_the_runner(workspace.home),
                    "Authorization": f"Bearer {workspace.home.mage_trigger_token.read_text()}",
                },
                timeout=1,  # has to pass
            )
        run = workspace.over(run)
        assert run.state is RunState.SUCCESS and run.mage_run is None
        told = "runs go on, and are not seen in Mage for now"
        wait_until(
            "the runner to give up its first try",
            lambda: told in log.read_text()[before:] or log.read_text()[-200:],
        )
    number = recorded(workspace, run)
    assert workspace.ended(number) == "completed"
    assert workspace.table(number)["facts"]["status"] == "success"
    assert "Success in" in workspace.block_log("single_model_rerun", number)
    assert seen(workspace, run) == [number]
    # Mage worked off what it had been sent, and the runner found that instead of asking again.
    assert workspace.pipeline_run(number)["variables"]["model"] == "unanswered"


def test_a_run_goes_on_while_mage_is_killed_and_is_seen_once_when_it_is_back(
    workspace: Workspace,
) -> None:
    restarts = int(workspace.kept("mage")["restarts"])
    workspace.child("mage").kill()
    run = workspace.over(ask(workspace, select="facts", why="Mage is dead"))
    assert run.state is RunState.SUCCESS
    workspace.wait_until_up("mage", restarts + 1)
    number = recorded(workspace, run)
    assert workspace.ended(number) == "completed"
    assert seen(workspace, run) == [number]


def test_a_runner_killed_before_it_could_note_the_pipeline_run_finds_it_again(
    workspace: Workspace,
) -> None:
    restarts = int(workspace.kept("runner")["restarts"])
    mage = workspace.child("mage")
    with database(workspace) as connection, connection.transaction():
        with stopped(mage):
            run = workspace.over(ask(workspace, select="facts"))
            connection.execute("lock table ledger.event in exclusive mode")
        (number,) = wait_until("Mage to have it", lambda: seen(workspace, run) or "no")
        assert workspace.client.run(run.id).mage_run is None
        workspace.child("runner").kill()
    workspace.wait_until_up("runner", restarts + 1)
    assert recorded(workspace, run) == number
    assert workspace.ended(number) == "completed"
    assert seen(workspace, run) == [number]


def test_a_trigger_that_is_switched_off_is_told_once_and_holds_up_no_other(
    workspace: Workspace,
) -> None:
    trigger = workspace.trigger_id("dbt_command")
    log = workspace.home.logs / "runner.log"
    before = len(log.read_text())

    def switch(status: str) -> None:
        change = {"id": trigger, "status": status}
        with http(workspace) as client:
            path = f"/api/pipeline_schedules/{trigger}"
            answer = client.put(path, json={"pipeline_schedule": change})
            assert answer.json()["pipeline_schedule"]["status"] == status

    switch("inactive")
    try:
        held = ask(workspace, operation="command", command="compile --select facts")
        other = ask(workspace, select="facts")
        assert workspace.ended(recorded(workspace, other)) == "completed"
        told = log.read_text()[before:]
        assert told.count(f"The trigger {API_TRIGGER} of dbt_command is switched off") == 1
        assert workspace.client.run(held.id).mage_run is None
    finally:
        switch("active")
    assert workspace.ended(recorded(workspace, held)) == "completed"
    assert log.read_text()[before:].count("is switched off") == 1


def test_a_rotated_token_is_told_and_put_right_by_what_a_start_writes(
    workspace: Workspace,
) -> None:
    trigger = workspace.trigger_id("dbt_command")
    with http(workspace) as client:
        change = {"id": trigger, "rotate_token": True}
        path = f"/api/pipeline_schedules/{trigger}"
        answer = client.put(path, json={"pipeline_schedule": change})
        assert "error" not in answer.json(), answer.text
    restarts = int(workspace.kept("mage")["restarts"])
    try:
        with pytest.raises(WorkspaceError, match="rotated the token"):
            workspace.trigger("dbt_command", command="compile --select facts")
    finally:
        # A start installs the project and then starts Mage. One that runs may miss the new file:
        # it reads it once, and compares it with what its database session believes it knows.
        project.install(workspace.settings, workspace.home)
        workspace.child("mage").kill()
        workspace.wait_until_up("mage", restarts + 1)

    def probe() -> list[int] | str:
        try:
            return [workspace.trigger("dbt_command", command="compile --select facts")]
        except WorkspaceError as error:
            return str(error)

    (number,) = wait_until("Mage to take our token again", probe)
    assert workspace.ended(number) == "completed"
