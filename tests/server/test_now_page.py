"""The first page and the page of commits, as a browser gets them, through a morning that fails."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mage_dbt.model.now import Colour, Now, NowState
from mage_dbt.model.run import Run, RunState
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

PROJECT = "steps"

HOSTILE = "<script>alert('x')</script> {{ 1 }} \" ' & %(time)s 한"

WELL = "select sum(amount) as total from {{ ref('facts') }}"

SLOW = f"{WELL}, (select pg_sleep(600)) as slow"

LAST = "select total from {{ ref('totals') }}"


@pytest.fixture(scope="module")
def browser(runner: Runner) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{runner.settings.runner_port}", trust_env=False, timeout=SECONDS
    ) as client:
        yield client


@pytest.fixture(scope="module")
def failed(runner: Runner) -> Run:
    """A build of everything that failed on a column that is not there, after one that passed."""
    passed = runner.run(why="the beginning")
    assert passed.state is RunState.SUCCESS, passed.detail
    runner.publish(
        f"Rename id {HOSTILE}",
        totals="select nothing_there as total from {{ ref('facts') }}",
        last=LAST,
    )
    run = runner.run(why=HOSTILE, caller=HOSTILE)
    assert run.state is RunState.ERROR
    return run


def with_totals(runner: Runner, text: str) -> None:
    """The live commit has `totals` so, whichever tests were run before."""
    file = runner.repository / "models" / "totals.sql"
    if not file.exists() or file.read_text() != text:
        runner.publish("Change totals", totals=text)


def page(browser: httpx.Client, path: str, language: str = "en") -> str:
    answer = browser.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 200, answer.text
    return answer.text


def words(text: str) -> str:
    """What a person reads: without tags, in single spaces."""
    body = text.split("<main", 1)[1].split("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", re.sub("</?bdi>", "", body))).split())


def test_before_the_first_build_the_page_says_so(runner: Runner, browser: httpx.Client) -> None:
    now = runner.client.now()
    assert (now.state, now.colour) == (NowState.NEVER_BUILT, Colour.GREY)
    text = page(browser, "/")
    assert "<title>● Grey – dbt-metric</title>" in text
    assert "Nothing has been built yet." in words(text)
    assert "아직 한 번도 빌드하지 않았습니다." in words(page(browser, "/", "ko"))
    assert {day.state for day in now.days} == {"none"} and len(now.days) == 30


def test_a_failed_build_is_told_with_its_cause_and_one_thing_to_press(
    runner: Runner, browser: httpx.Client, failed: Run
) -> None:
    now = runner.client.now()
    assert (now.state, now.colour) == (NowState.FAILED, Colour.RED)
    assert now.build == failed.id and now.days[-1].state == "red"
    assert now.explanation and now.rerun
    assert now.rerun.allowed and now.rerun.same_commit and now.rerun.commit == failed.commit
    assert now.rerun.nodes == 2 and now.rerun.seconds, "totals and last, though they fail again"
    text = page(browser, "/")
    shown = words(text)
    assert "<title>● Red – dbt-metric</title>" in text
    assert "reads a column that is not there." in shown
    assert f"Run what failed on {failed.commit[:7]}" in shown
    assert "it would fail again" in shown and "What will run: 2 steps, " in shown
    assert "Somebody has to change it" in shown
    assert "What is not up to date because of it" in shown and "2 tables are not" in shown
    form = re.search(
        r'<form method="post" action="/ask/rerun\?[^"]*">(.*?)</form>', text, re.DOTALL
    )
    assert form
    assert {failed.id, failed.commit} <= set(re.findall(r'value="([^"]*)"', form[1]))
    assert f'data-copy="/runs/{failed.id}"' in text


def test_what_people_and_the_database_wrote_is_text_and_nothing_else(
    browser: httpx.Client, failed: Run
) -> None:
    for path in ("/", "/commits"):
        text = page(browser, path)
        assert "<script>alert" not in text
        assert html.escape("<script>alert", quote=False) in text


def test_the_page_says_in_korean_what_it_says_in_english(
    browser: httpx.Client, failed: Run
) -> None:
    text = page(browser, "/", "ko")
    shown = words(text)
    assert "<title>● 빨강 – dbt-metric</title>" in text
    assert f"{failed.commit[:7]}에서 실패한 것만 다시 실행" in shown
    assert "없는 열을 읽습니다" in shown
    assert "테이블 2개가 최신이 아닙니다." in shown and "실행할 내용: 2단계" in shown


def test_the_page_and_the_api_give_the_same(
    runner: Runner, browser: httpx.Client, failed: Run
) -> None:
    token = {"Authorization": f"Bearer {runner.home.api_token.read_text()}"}
    for ours, api in (("/now.json", "/v1/now"), ("/commits.json", "/v1/commits")):
        mine = browser.get(ours).json()
        theirs = browser.get(api, headers=token).json()
        assert _still(mine) == _still(theirs), api


def _still(data: dict[str, Any]) -> dict[str, Any]:
    """Without what is another in each moment."""
    rerun = {**(data.get("rerun") or {}), "whole_at": None}
    explanation = {**(data.get("explanation") or {}), "whole_at": None}
    return {**data, "at": None, "rerun": rerun, "explanation": explanation}


def test_a_repair_that_is_being_made_ready_is_waited_for(
    runner: Runner, browser: httpx.Client, failed: Run
) -> None:
    sha = runner.commit("Repair totals", totals=SLOW)

    def told() -> Now | str:
        now = runner.client.now()
        assert now.rerun
        return now if now.rerun.commit == sha else str(now.rerun)

    now = wait_until("the repair to be the one to run", told)
    assert now.rerun
    if not now.rerun.allowed:  # else it was made ready between two looks
        assert now.rerun.why_not == "being made ready" and now.preparing
        assert now.preparing.sha == sha and now.preparing.subject == "Repair totals"
    runner.live(sha)
    now = runner.client.now()
    assert now.rerun and now.rerun.allowed and not now.rerun.same_commit
    assert f"Run what failed on {sha[:7]}" in words(page(browser, "/"))


def test_a_rerun_shows_what_it_builds_and_can_be_stopped_and_puts_it_right(
    runner: Runner, browser: httpx.Client, failed: Run
) -> None:
    with_totals(runner, SLOW)
    rerun = runner.ask(operation="rerun_failed", of=failed.id, why="repaired")

    def at_work() -> Now | str:
        now = runner.client.now()
        return now if any(active.running for active in now.active) else str(now.active)

    now = wait_until("a node to be at work", at_work)  # and not only its SQL
    assert now.state is NowState.RERUNNING and now.rerunning == rerun.id
    assert now.rerun and now.rerun.why_not == "rerunning"
    (active,) = now.active
    assert (active.run, active.running, active.planned) == (rerun.id, ("totals",), 2)
    text = page(browser, "/")
    shown = words(text)
    assert "what failed is running again: 0 of 2 steps are done." in shown
    assert "totals · 0 of 2 done" in shown
    assert re.search(r'<form method="post" action="/ask/cancel\?run=[^"]+">', text)
    assert "disabled" in text
    runner.client.cancel(rerun.id, "kim")
    assert runner.over(rerun).state is RunState.CANCELLED
    assert runner.client.now().state is NowState.FAILED
    runner.publish("Remove totals", totals=None, last="select 1 as total", added="select 1 as id")

    def offered() -> Now | str:
        now = runner.client.now()
        return now if now.rerun and now.rerun.nodes == 1 and now.explanation else str(now)

    now = wait_until("the rerun to leave out what is gone", offered)
    assert now.explanation
    assert [node.gone for node in now.explanation.causes[0].nodes] == [True]
    assert (now.passed, now.gone, now.nodes) == (9, 1, 11), "what is gone has not passed"
    shown = words(page(browser, "/"))
    assert "It is no longer in the live version, so nothing of it runs again." in shown
    assert "Everything else (9 of 11) passed." in shown
    assert now.new == ("added",)
    assert "1 model of the live version has not been built yet: added." in shown
    runner.publish("Repair totals well", totals=WELL, last=LAST, added=None)
    assert runner.run(operation="rerun_failed", of=failed.id).state is RunState.SUCCESS
    now = runner.client.now()
    assert (now.state, now.colour) == (NowState.REPAIRED, Colour.GREEN)
    assert now.days[-1].state == "repaired" and now.rerun is None
    assert "Everything is whole again." in words(page(browser, "/"))


def test_a_green_build_says_when_the_next_begins_and_how_long_it_takes(
    runner: Runner, browser: httpx.Client, failed: Run
) -> None:
    with_totals(runner, WELL)
    assert runner.run().state is RunState.SUCCESS
    now = runner.client.now()
    assert now.state is NowState.PASSED and now.passed == now.nodes == 11 and now.new == ()
    shown = words(page(browser, "/"))
    assert "All its 11 steps passed." in shown
    assert re.search(r"The next build begins tomorrow \d\d:\d\d \w+ and usually takes", shown) or (
        re.search(r"The next build begins \d\d:\d\d \w+ and usually takes", shown)
    )
    assert "Nothing runs, and nothing waits." in shown
    assert re.search("Mage (is starting|does not answer)", shown), "there is none here"
    assert "2 tests, all passed since" in words(page(browser, "/models/numbers"))


def test_a_build_that_somebody_cancelled_is_no_failure(
    runner: Runner, browser: httpx.Client, failed: Run
) -> None:
    runner.publish("Make it slow", totals=SLOW)
    run = runner.ask()
    runner.running(run, "pg_sleep")
    now = runner.client.now()
    assert (now.state, now.colour) == (NowState.RUNNING, Colour.AMBER)
    assert re.search(r"is running: \d+ of 11 steps are done\.", words(page(browser, "/")))
    runner.client.cancel(run.id, "kim")
    runner.over(run)
    now = runner.client.now()
    assert (now.state, now.colour) == (NowState.CANCELLED, Colour.AMBER)
    assert now.rerun and now.rerun.allowed
    assert "was cancelled at" in words(page(browser, "/"))


def test_a_build_that_waits_is_told_so_and_one_that_runs_comes_before_it(
    runner: Runner, browser: httpx.Client, failed: Run
) -> None:
    runner.publish("Make it slower", totals=f"{SLOW} where true")
    held = runner.ask(select="totals")
    runner.running(held, "pg_sleep")
    first = runner.ask(caller="kim")

    def waits() -> Now | str:
        now = runner.client.now()
        good = (now.build, now.state) == (first.id, NowState.WAITING) and now.detail
        return now if good else f"{now.state} {now.detail!r}"

    now = wait_until("the build waits", waits)
    assert "held by build totals since" in now.detail and now.begun_at is None
    shown = words(page(browser, "/"))
    assert f"The build that kim asked for waits for its turn. {now.detail}" in shown
    assert "is running" not in shown
    runner.client.cancel(held.id, "kim")
    runner.running(first, "pg_sleep")
    second = runner.ask(caller="lee")

    def waits_behind() -> str | list[str]:
        said = [run.detail for run in runner.client.now().active if run.run == second.id]
        return said if said and said[0] else "nothing is said yet"

    [detail] = wait_until("the other waits", waits_behind)
    assert "held by build of everything since" in detail and detail.endswith("started by kim")
    now = runner.client.now()
    assert (now.build, now.state) == (first.id, NowState.RUNNING)
    for run in (second, first):
        runner.client.cancel(run.id, "kim")
        runner.over(run)


def test_the_page_of_commits_tells_what_became_of_each(
    runner: Runner, browser: httpx.Client, failed: Run
) -> None:
    live = runner.client.status().live
    assert live
    shown = words(page(browser, "/commits"))
    assert f"{live.sha[:7]} is live: runs use it." in shown
    assert "Live since" in shown and "It is the newest commit of main." in shown
    sha = runner.commit("Break it <b>all</b>", totals="select {{ nothing( as id")
    runner.broken(sha)

    def written_down() -> bool | str:  # the ledger hears of it later than the status
        rows = browser.get("/commits.json").json()["commits"]
        return rows[0]["state"] == "broken" or str(rows[0])

    wait_until("the ledger to know of it", written_down)
    text = page(browser, "/commits")
    shown = words(text)
    assert f"{sha[:7]} “Break it <b>all</b>” by" in shown and "is broken" in shown
    assert "main is 1 commit ahead" in shown
    states = {row["sha"]: row["state"] for row in browser.get("/commits.json").json()["commits"]}
    assert states[sha] == "broken" and states[live.sha] == "live"
    assert states[failed.commit] == "ready"
    assert "사용 중" in words(page(browser, "/commits", "ko"))


@pytest.mark.parametrize("path", ["/live/now", "/live/commits"])
def test_the_live_part_is_sent_at_once_and_has_no_script(
    browser: httpx.Client, failed: Run, path: str
) -> None:
    with browser.stream("GET", path) as answer:
        lines = answer.iter_lines()
        first = next(line for line in lines if line.startswith("data: "))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert " hx-" not in first
