"""The command-line tool as a person and as a program use it."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import httpx

from mage_dbt.client import report
from mage_dbt.model.run import RunState
from tests.harness.models import sleepy
from tests.harness.repository import git, git_commit
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS

PROJECT = "steps"
OWN_POSTGRESQL = True  # `status` names every process of the workspace


def tool(
    runner: Runner, *arguments: str, module: str = "mage_dbt.tool"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={"PATH": os.environ["PATH"], **runner.settings.as_environment()},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_run_shows_each_node_and_its_table_and_show_tells_it_again(runner: Runner) -> None:
    done = tool(runner, "run", "--select", "numbers", "--var", "size=4", "--why", "a new size")
    assert done.returncode == 0, done.stderr
    assert "success  numbers" in done.stdout and "Success in" in done.stdout
    run = runner.client.runs(limit=1)[0]
    shown = tool(runner, "show", run.id)
    assert "a new size" in shown.stdout and run.id in shown.stdout
    page = f"http://127.0.0.1:{runner.settings.runner_port}/runs/{run.id}"
    assert f"Its page: {page}" in done.stdout and f"page      {page}" in shown.stdout
    data = json.loads(tool(runner, "show", run.id, "--json").stdout)
    assert data["state"] == "Success" and data["request"]["variables"] == {"size": 4}
    assert run.id in tool(runner, "runs").stdout


def test_plan_shows_what_would_run_and_changes_nothing(runner: Runner) -> None:
    before = runner.client.runs(limit=500)
    done = tool(runner, "plan", "full_refresh", "--select", "facts")
    assert done.returncode == 0, done.stderr
    assert "analytics.facts" in done.stdout
    data = json.loads(tool(runner, "plan", "--select", "facts", "--json").stdout)
    assert data["nodes"][0]["name"] == "facts" and len(data["digest"]) == 64
    assert runner.client.runs(limit=500) == before


def test_a_plan_is_seen_run_by_its_digest_and_refused_when_it_changed(runner: Runner) -> None:
    plan = tool(runner, "plan", "--select", "numbers+1", "--exclude", "apart")
    assert plan.returncode == 0, plan.stderr
    assert "asked for" in plan.stdout and "downstream of numbers" in plan.stdout
    digest = plan.stdout.split("digest")[1].split()[0]
    refused = tool(runner, "run", "--select", "numbers", "--digest", digest, "--json")
    assert refused.returncode == 2 and "nodes gone: facts" in refused.stdout
    head = git(runner.repository, "rev-parse", "HEAD")
    unknown = tool(runner, "run", "--select", "numbers", "--commit", "no-such-tag")
    assert unknown.returncode == 2 and "No commit or tag 'no-such-tag'" in unknown.stderr
    done = tool(runner, "run", "--select", "numbers", "--commit", head[:7])
    assert done.returncode == 0, done.stderr


def test_dbt_itself_runs_with_the_workspaces_profile_and_without_the_runner(runner: Runner) -> None:
    before = runner.client.runs(limit=500)
    words = ["run", "--select", "numbers", "--vars", "size: 7"]
    done = tool(runner, *words, module="mage_dbt.launcher.dbt_itself")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no queue, no ledger" in done.stderr and "PASS=1" in done.stdout
    assert runner.query("select count(*) from analytics.numbers") == [(7,)]
    assert runner.client.runs(limit=500) == before
    wrong = tool(runner, "run", "--selct", "numbers", module="mage_dbt.launcher.dbt_itself")
    assert wrong.returncode == 2 and "--selct" in wrong.stderr


def test_show_has_the_story_of_a_run_and_its_reruns(runner: Runner) -> None:
    text = (runner.repository / "models" / "apart.sql").read_text()
    runner.live(runner.commit("Break", apart="select 1 / 0 as id"))
    failed = runner.run(select="apart")
    runner.live(runner.commit("Repair", apart=text))
    assert tool(runner, "run", "rerun_failed", "--of", failed.id, "--why", "x").returncode == 0
    shown = tool(runner, "show", failed.id).stdout
    assert "story     " in shown and "failed at" in shown and "fixed by" in shown
    again = tool(runner, "run", "rerun_failed", "--of", failed.id)
    assert again.returncode == 2 and "has succeeded since" in again.stderr
    first = tool(runner, "run", "rerun_failed")
    assert first.returncode == 2 and "Nothing has built everything yet" in first.stderr
    assert report.WAITS_FOR_COMMIT in first.stderr
    at_once = tool(runner, "run", "rerun_failed", "--no-wait-for-commit")
    assert at_once.returncode == 2 and report.WAITS_FOR_COMMIT not in at_once.stderr


def test_what_is_refused_says_why_and_ends_with_status_two(runner: Runner) -> None:
    for arguments, says in (
        (["run", "--var", "size"], "NAME=VALUE"),
        (["run", "full_refresh"], "needs the models"),
        (["run", "command", "--command", "clean"], "not allowed"),
        (["show", "20260101-000000-000000"], "No run"),
        (["cancel", "20260101-000000-000000"], "No run"),
    ):
        done = tool(runner, *arguments)
        assert done.returncode == 2, (arguments, done.stdout)
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        refused = json.loads(tool(runner, *arguments, "--json").stdout)
        assert says in f"{refused['error']} {refused['hint']}"


def test_a_variable_that_nothing_seems_to_read_is_warned_of(runner: Runner) -> None:
    done = tool(runner, "plan", "--var", "sise=4")
    assert done.returncode == 0, done.stderr
    assert "Did you mean size" in done.stdout


def test_a_run_that_fails_ends_with_status_one(runner: Runner) -> None:
    done = tool(runner, "run", "--select", "no_such_model")
    assert done.returncode == 1
    assert 'No model "no_such_model"' in done.stdout


def test_cancel_stops_a_run(runner: Runner) -> None:
    text = (runner.repository / "models" / "apart.sql").read_text()
    runner.live(runner.commit("Sleep", apart=sleepy()))
    run = runner.ask(select="apart")
    runner.running(run, "pg_sleep")
    going_on = tool(runner, "status").stdout
    assert f"build apart, run {run.id}, since" in going_on and "asked for by test" in going_on
    done = tool(runner, "cancel", run.id)
    assert done.returncode == 0 and "Cancelled by " in done.stdout
    over = runner.client.run(run.id)
    assert over.state is RunState.CANCELLED
    assert over.detail == f"Cancelled by {getpass.getuser()} with mage-dbt."
    assert over.detail in tool(runner, "show", run.id).stdout
    runner.live(runner.commit("Back", apart=text))


def test_status_tells_the_live_commit_and_the_next_daily_build(runner: Runner) -> None:
    done = tool(runner, "status")
    assert done.returncode == 0
    assert "live" in done.stdout and "daily     next build" in done.stdout
    assert "\nbuild     " in done.stdout
    data = json.loads(tool(runner, "status", "--json").stdout)
    assert data["live"]["models"] == 5 and "1 seed" in data["live"]["holds"]
    assert {one["name"] for one in data["processes"]} >= {"postgres", "runner", "git-sync"}


def test_what_dbt_warned_of_while_parsing_is_in_status_plan_and_run(runner: Runner) -> None:
    before = git(runner.repository, "rev-parse", "HEAD")
    misspelt = runner.repository / "models" / "misspelt.yml"
    misspelt.write_text(MISSPELT)
    runner.live(git_commit(runner.repository, "Test a misspelt model"))
    headline = f"2 warnings while parsing, 2 new since {before[:7]}"
    dropped = "depends on a node named 'nmubers' in package '' which was not found"
    status = tool(runner, "status").stdout
    assert f"dbt       {headline}\n          New: " in status and dropped in status
    plan = tool(runner, "plan", "--select", "apart").stdout
    assert f"Warning: {headline}\nWarning: dbt: New: " in plan and dropped in plan
    run = tool(runner, "run", "--select", "apart").stdout
    assert f"Warning: {headline}\nWarning: dbt: New: " in run and dropped in run
    misspelt.unlink()
    runner.live(git_commit(runner.repository, "Test it no more"))
    assert "while parsing" not in tool(runner, "status").stdout


MISSPELT = """models:
  - name: nmubers
    columns:
      - {name: id, data_tests: [not_null]}
"""


def test_over_tcp_nothing_answers_without_the_token_but_ping(runner: Runner) -> None:
    address = f"http://127.0.0.1:{runner.settings.runner_port}"
    token = runner.home.api_token.read_text()
    with httpx.Client(base_url=address, trust_env=False, timeout=SECONDS) as http:
        assert http.get("/ping").json() == "pong"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": token}):
            answer = http.get("/v1/runs", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
        allowed = {"Authorization": f"Bearer {token}"}
        assert http.get("/v1/runs", headers=allowed).status_code == 200
        wrong = http.post("/v1/runs", headers=allowed, json={"operation": "biuld"})
        assert wrong.status_code == 422 and "build" in wrong.json()["hint"]
        large = http.post("/v1/runs", headers=allowed, content=b"x" * 10_000_000)
        assert large.status_code == 413
        assert http.get("/v1/nothing", headers=allowed).status_code == 404


def test_schedule_shows_changes_pauses_and_resets_the_daily_build(runner: Runner) -> None:
    first = tool(runner, "schedule")
    assert first.returncode == 0, first.stderr
    assert "every day at 08:00 KST (Asia/Seoul)\n" in first.stdout and "next " in first.stdout
    later = tool(runner, "schedule", "--at", "09:30", "--why", "the source is late")
    me = getpass.getuser()
    assert (
        f"09:30 KST (Asia/Seoul), set by {me} (the source is late); the settings say 08:00"
        in later.stdout
    )
    assert "when it is not over by 10:30" in later.stdout
    until = (datetime.now(ZoneInfo("Asia/Seoul")) + timedelta(days=2)).strftime("%Y-%m-%dT12:00")
    day = until.partition("T")[0]
    done = tool(runner, "schedule", "--pause", "--until", until, "--why", "inventory")
    says = f"paused until {day} 12:00 KST by {me} (inventory)"
    assert done.returncode == 0 and says in done.stdout, done.stderr
    assert f"daily     {says}; next build " in tool(runner, "status").stdout
    assert "no longer paused by " in tool(runner, "schedule", "--resume").stdout
    tool(runner, "schedule", "--pause", "--why", "for good")
    assert "no build until somebody ends the pause" in tool(runner, "status").stdout
    data = json.loads(tool(runner, "schedule", "--reset", "--json").stdout)
    assert data["schedule"]["paused"] is False and data["schedule"]["settings_at"] is None
    for arguments, says in (
        (["--pause"], "A pause needs a reason"),
        (["--at", "25:00"], "build_at"),
        (["--until", until], "is the end of a pause"),
        (["--why", "x"], "--why is for"),
        (["--at", "08:00", "--resume"], "not allowed with"),
    ):
        refused = tool(runner, "schedule", *arguments)
        assert refused.returncode == 2 and says in refused.stderr, (arguments, refused.stderr)
