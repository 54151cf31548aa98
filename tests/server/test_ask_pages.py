"""The pages where people ask for runs: every flow by its forms, on a real runner."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from html import unescape
from threading import Event as Signal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import Page, expect

from mage_dbt.model.refresh import Step
from mage_dbt.model.run import Run, RunState
from tests.harness import forms
from tests.harness.accessibility import violations
from tests.harness.forms import Document, Visitor
from tests.harness.models import BROKEN, FACTS, HELD
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

PROJECT = "steps"

WITH_DOUBLE = FACTS.replace("    amount\n", "    amount,\n    amount * 2 as double\n")

LOCK = 4712

HELD_WHERE = f"\nwhere {HELD}({LOCK})::text is not null\n"

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def visitor(runner: Runner) -> Iterator[Visitor]:
    yield from forms.browsers(f"http://127.0.0.1:{runner.settings.runner_port}")


@pytest.fixture
def broken_morning(runner: Runner) -> Run:
    """A build of everything in which facts failed, and which nothing has repaired; the repair is
    live."""
    last = runner.rows(
        "ledger",
        "select id from ledger.run_now as build where operation = 'build' and state = 'Error' and"
        " not exists (select from ledger.run_now where follows = build.id and state = 'Success')",
    )
    if last:
        return runner.client.run(last[0][0])
    runner.publish("Break facts", facts=BROKEN)
    run = runner.run()
    assert run.state is RunState.ERROR
    runner.publish("Repair facts", facts=FACTS)
    return run


@pytest.fixture
def built(runner: Runner) -> None:
    """The tables of the model as it was, and a view that somebody made."""
    if (runner.repository / "models" / "facts.sql").read_text() != FACTS:
        runner.publish("As it was", facts=FACTS)
    if columns(runner, "analytics.facts") != ["id", "amount"]:
        assert runner.run(models="numbers facts facts_view").state is RunState.SUCCESS
    runner.execute("create schema if not exists bi")
    runner.execute("create or replace view bi.amounts as select id, amount from analytics.facts")


def until_it_holds(runner: Runner, run: str) -> Run:
    def probe() -> Run | str:
        now = runner.client.run(run)
        assert not now.state.final, now.detail
        return now if now.holds else str(now.refresh[-1:])

    return wait_until(f"run {run} to hold", probe)


def over(runner: Runner, run: str) -> Run:
    return runner.over(runner.client.run(run))


@contextmanager
def daily_build_in(runner: Runner, delay: timedelta) -> Iterator[str]:
    """In this block the next daily build is that far away; gives its time of day."""
    at = f"{datetime.now(ZoneInfo(runner.settings.daily_build_timezone)) + delay:%H:%M}"
    url = f"http://127.0.0.1:{runner.settings.runner_port}/v1/schedule"
    token = {"Authorization": f"Bearer {runner.home.api_token.read_text()}"}
    with httpx.Client(headers=token, timeout=SECONDS, trust_env=False) as http:
        http.put(url, json={"build_at": at}).raise_for_status()
        try:
            yield at
        finally:
            http.put(url, json={"reset": True}).raise_for_status()


def count(runner: Runner) -> int:
    return int(runner.rows("ledger", "select count(*) from ledger.run")[0][0])


def columns(runner: Runner, relation: str) -> list[str]:
    schema, name = relation.split(".")
    rows = runner.query(
        "select column_name from information_schema.columns where table_schema = %s"
        " and table_name = %s order by ordinal_position",
        schema,
        name,
    )
    return [name for (name,) in rows]


# ------------------------------------------------------------- what failed


def test_it_runs_on_the_commit_that_failed_when_that_is_chosen(
    runner: Runner, visitor: Visitor, broken_morning: Run
) -> None:
    page = visitor.see("/ask/rerun", run=broken_morning.id, commit="same")
    assert f"Run what failed on {broken_morning.commit[:7]}" in page.text
    run = over(runner, visitor.begun(page.form("Run what failed on")))
    assert (run.commit, run.state) == (broken_morning.commit, RunState.ERROR)


def test_a_plan_that_changed_is_shown_again_and_nothing_begins(
    runner: Runner, visitor: Visitor, broken_morning: Run
) -> None:
    form = visitor.see("/ask/rerun", run=broken_morning.id).form("Run what failed on")
    runner.publish("Add one more", facts=FACTS, extra="select * from {{ ref('facts') }}")
    before = count(runner)
    answer = visitor.send(form, why="because")
    page = Document(answer.text)
    assert answer.status_code == 409
    assert "changed since you looked" in page.text and "another commit" in page.text
    assert count(runner) == before
    again = page.form("Run what failed on")
    assert again.fields["why"] == "because" and again.fields["digest"] != form.fields["digest"]


def test_what_failed_runs_again_as_its_plan_showed(
    runner: Runner, visitor: Visitor, broken_morning: Run
) -> None:
    page = visitor.see("/ask/rerun", run=broken_morning.id)
    assert "1 model that failed" in page.text and "waited" in page.text, page.text
    shown = visitor.http.get(f"/ask/rerun.json?run={broken_morning.id}").json()["plan"]
    form = page.form("Run what failed on")
    assert form.fields["digest"] == shown["digest"]
    run = over(runner, visitor.begun(form, why="repaired"))
    assert run.state is RunState.SUCCESS, run.detail
    assert {node.node for node in run.nodes} == {node["node"] for node in shown["nodes"]}
    assert (run.cause, run.why, run.follows) == ("page", "repaired", broken_morning.id)
    assert run.caller == "somebody at this machine"
    nothing = visitor.see("/ask/rerun", status=409, run=broken_morning.id)
    assert "is left to run" in nothing.text and not [f for f in nothing.forms if f.method == "post"]
    assert f"/runs/{run.id}" in nothing.links.values()


def test_the_first_page_begins_it_without_a_plan_and_two_clicks_are_one_run(
    runner: Runner, visitor: Visitor, broken_morning: Run
) -> None:
    token = visitor.see("/ask/rerun", run=broken_morning.id).form("Run what failed").fields["token"]
    live = runner.client.status().to_json()["live"]["sha"]
    fields = {"token": token, "run": broken_morning.id, "commit": live, "key": "pressed-twice"}
    form = forms.Form("post", "/ask/rerun", fields)
    before = count(runner)
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda _: visitor.send(form), range(2)))
    assert [answer.status_code for answer in answers] == [303, 303]
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert count(runner) == before + 1
    run = answers[0].headers["location"].rpartition("/")[2]
    going_on = visitor.http.get(f"/ask/rerun?run={broken_morning.id}")
    if going_on.status_code == 409:
        assert f"/runs/{run}" in going_on.text
    assert over(runner, run).state is RunState.SUCCESS
    assert over(runner, run).request.key == "page:pressed-twice"


# --------------------------------------------------------------- one model


def test_one_model_is_found_by_letters_and_runs_with_what_reads_it(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    found = visitor.see("/ask/run", search="fac")
    assert {"facts", "facts_view"} <= set(found.links)
    assert "numbers" not in found.links
    page = visitor.see(found.links["facts"])
    assert "Last run:" in page.text and "success" in page.text
    page = visitor.see(page.links["With everything that reads it"])
    shown = visitor.http.get("/ask/run.json?model=facts&with=readers").json()["plan"]
    run = over(runner, visitor.begun(page.form("Run"), why=HOSTILE))
    assert run.state is RunState.SUCCESS
    assert {node.node for node in run.nodes} == {node["node"] for node in shown["nodes"]}
    assert {"facts", "facts_view"} <= {node.name for node in run.nodes}
    assert (run.request.models, run.why) == (("facts",), HOSTILE)


@pytest.mark.parametrize("name", [HOSTILE, "../../etc/passwd", "facts;drop", "-x", "é" * 300])
def test_a_hostile_name_is_a_text_on_a_page(visitor: Visitor, name: str) -> None:
    for path in ("/ask/run", "/ask/refresh", "/ask/undo", "/ask/rerun"):
        field = "run" if path == "/ask/rerun" else "model"
        for whole in ("", "yes"):
            answer = visitor.http.get(path, params={field: name, "whole": whole})
            assert "<img" not in answer.text
        assert answer.status_code in (404, 422), f"{path}: {answer.status_code}"
    assert "<img" not in visitor.http.get("/ask/run", params={"search": name}).text


def test_a_model_whose_name_holds_tabs_is_run_refreshed_and_brought_back(
    runner: Runner, visitor: Visitor
) -> None:
    odd, spelled = "<img\tsrc=x\tonerror=1>", r"<img\tsrc=x\tonerror=1>"
    table = "{{ config(materialized='table') }} select 1 as id"
    runner.publish("Add a name with tabs", **{odd: table})
    node = f"model.steps.{odd}"
    run = over(runner, visitor.begun(visitor.see("/ask/run", model=node).form("Run")))
    assert run.state is RunState.SUCCESS, run.detail
    assert [built.node for built in run.nodes] == [node]
    assert run.request.models == (spelled,)

    page = visitor.see("/ask/refresh", model=node)
    assert f"Type the name: {spelled}" in page.text
    done = over(runner, visitor.begun(page.form("Refresh and swap"), name=spelled))
    assert done.swapped, done.detail
    undo = visitor.see("/ask/undo", model=node).form("Undo the refresh")
    undone = over(runner, visitor.begun(undo, name=spelled))
    assert undone.state is RunState.SUCCESS, undone.detail
    runner.publish("Remove it", **{odd: None})


def test_a_model_whose_name_holds_a_comma_is_run_refreshed_and_brought_back(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    odd = "facts,totals"  # the names of two others
    node = f"model.steps.{odd}"
    before = columns(runner, "analytics.facts")
    runner.publish(
        "Add a name with a comma", **{odd: "{{ config(materialized='table') }} select 1 as one"}
    )
    run = over(runner, visitor.begun(visitor.see("/ask/run", model=node).form("Run")))
    assert run.state is RunState.SUCCESS, run.detail
    assert [built.node for built in run.nodes] == [node]

    page = visitor.see(visitor.see(f"/models/{node}").links["Refresh"])
    assert f"Type the name: {odd}" in page.text
    run = over(runner, visitor.begun(page.form("Refresh and swap"), name=odd))
    assert run.swapped and run.request.models == (odd,), run.detail
    assert [built.node for built in run.nodes] == [node]

    page = visitor.see(visitor.see(f"/runs/{run.id}").links["Undo"])
    undone = over(runner, visitor.begun(page.form("Undo the refresh"), name=odd))
    assert undone.state is RunState.SUCCESS and undone.request.models == (node,), undone.detail

    # Beside another it is still one of two.
    page = visitor.see("/ask/refresh", model=f'"{odd}",facts')
    run = over(runner, visitor.begun(page.form("Refresh and swap"), name=f"{odd}, facts"))
    assert run.swapped and run.request.models == (odd, "facts"), run.detail
    assert columns(runner, "analytics.facts") == before
    runner.publish("Remove it", **{odd: None})


# ----------------------------------------------------------------- refresh


def test_a_refresh_shows_its_comparison_then_swaps_and_is_undone(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    runner.publish("Add double", facts=WITH_DOUBLE)
    page = visitor.see("/ask/refresh", model="facts")
    assert "Refresh facts: 1 column is in the model and not in the table" in page.text
    assert "+ double" in page.text and "bi.amounts" in page.text
    assert "Also rebuild?" in page.text and "totals" in page.form("totals").text
    with_readers = visitor.http.get("/ask/refresh.json?model=facts&downstream=yes").json()["plan"]
    assert "totals" in {node["name"] for node in with_readers["nodes"]}
    run = visitor.begun(page.form("Refresh, and show me first"), why="double for finance")
    held = until_it_holds(runner, run)
    assert "double" not in columns(runner, "analytics.facts")
    assert held.request.show_first and held.refreshed == ("facts",)

    decision = {"token": page.forms[0].fields.get("token", ""), "run": run}
    token = page.form("Refresh, and show me first").fields["token"]
    swap = forms.Form("post", "/ask/swap", {**decision, "token": token})
    wrong = visitor.send(swap, name="fact")
    assert wrong.status_code == 422
    asked_again = Document(wrong.text)
    assert "You typed 'fact'" in asked_again.text and "double" in asked_again.text
    answer = visitor.send(asked_again.form("Swap"), name="facts", why="looks right")
    assert answer.headers["location"] == f"/runs/{run}"
    done = over(runner, run)
    assert done.swapped and done.state is RunState.SUCCESS, done.detail
    assert columns(runner, "analytics.facts") == ["id", "amount", "double"]
    logged = runner.rows(
        "ledger", "select data ->> 'text' from ledger.event where run = %s and kind = 'log'", run
    )
    assert ("Decision by somebody at this machine: looks right: swap.",) in logged

    late = visitor.send(swap, name="facts")
    assert late.status_code == 409 and "is over" in late.text

    runner.execute("update analytics.facts set amount = amount + 1 where id = 1")
    undo = visitor.see("/ask/undo", model="facts")
    assert "Comes back" in undo.text and "no row: the old table has all of them" in undo.text
    assert "1 row gets its old values back" in undo.text
    form = undo.form("Undo the refresh")
    assert visitor.send(form, name="other").status_code == 422
    undone = over(runner, visitor.begun(form, name="facts", why="no need"))
    assert undone.state is RunState.SUCCESS, undone.detail
    assert columns(runner, "analytics.facts") == ["id", "amount"]


def test_a_refresh_that_is_thrown_away_changes_nothing(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    page = visitor.see("/ask/refresh", model="facts")
    assert "the same as now" in page.text
    form = page.form("Refresh, and show me first")
    waits = "Builds of these tables, and of what reads them, wait"
    assert f"{waits} until you have decided." in form.text
    run = visitor.begun(form)
    until_it_holds(runner, run)
    shown = visitor.see(f"/runs/{run}")
    assert f"{waits} for this decision." in shown.text
    with daily_build_in(runner, timedelta(minutes=30)) as at:
        for asks in (visitor.see(f"/runs/{run}"), visitor.see("/ask/refresh", model="facts")):
            # Half an hour before midnight it is tomorrow's.
            assert re.search(rf"So will the daily build \((tomorrow )?{at}\)", asks.text)
    with daily_build_in(runner, timedelta(hours=12)):
        assert "So will the daily build" not in visitor.see(f"/runs/{run}").text
    fields = {"token": form.fields["token"], "run": run}
    asked = Document(visitor.send(forms.Form("post", "/ask/swap", fields), name="").text)
    answer = visitor.send(asked.form("Swap"), button="Throw away", why="not today")
    assert answer.status_code == 303, answer.text
    done = over(runner, run)
    assert done.state is RunState.CANCELLED and not done.swapped
    assert done.detail == "Cancelled by somebody at this machine: not today."
    assert any(step.step is Step.DISCARDED for step in done.refresh)


def test_a_swap_without_looking_needs_the_models_name(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    form = visitor.see("/ask/refresh", model="facts").form("Refresh and swap")
    before = count(runner)
    answer = visitor.send(form, name="fcts")
    assert answer.status_code == 422 and "You typed" in answer.text
    assert count(runner) == before
    again = Document(answer.text).form("Refresh and swap")
    done = over(runner, visitor.begun(again, name="facts"))
    assert done.swapped and not done.request.show_first


def test_a_refresh_in_place_lists_what_falls_and_types_the_name(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    page = visitor.see("/ask/refresh", model="facts")
    page = visitor.see(page.links["Show what that would drop"])
    assert "bi.amounts" in page.text and "nothing can be undone" in page.text
    form = page.form("Drop and build again")
    assert visitor.send(form, name="").status_code == 422
    done = over(runner, visitor.begun(form, name="facts"))
    assert done.request.in_place and done.state is RunState.SUCCESS, done.detail


def test_a_check_is_passed_over_with_its_name_and_a_reason(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    form = visitor.see("/ask/refresh", model="facts").form("Refresh, and show me first")
    refused = visitor.send(form, override_rows="yes")
    assert refused.status_code == 422 and "needs a reason" in refused.text
    run = visitor.begun(form, override_rows="yes", why="the shop deleted its test orders")
    until_it_holds(runner, run)
    assert runner.client.run(run).request.override == ("rows",)
    cancel = forms.Form("post", "/ask/cancel", {"token": form.fields["token"], "run": run})
    assert visitor.send(cancel).status_code == 303
    assert over(runner, run).state is RunState.CANCELLED


@pytest.mark.parametrize("missing", ["digest", "key"])
@pytest.mark.parametrize(
    ("path", "button", "more"),
    [
        ("/ask/run", "Run", {}),
        ("/ask/refresh", "Refresh, and show me first", {}),
        ("/ask/refresh", "Refresh and swap", {"name": "facts"}),
    ],
)
def test_a_form_without_the_plan_that_was_seen_shows_it_again(
    runner: Runner,
    visitor: Visitor,
    built: None,
    path: str,
    button: str,
    more: dict[str, str],
    missing: str,
) -> None:
    form = visitor.see(path, model="facts").form(button)
    before = count(runner)
    digest = form.fields["digest"]
    for without in ({**form.fields, missing: ""}, {**form.fields}):
        without.pop(missing) if without[missing] else None
        answer = visitor.send(forms.Form("post", path, without), **more)
        page = Document(answer.text)
        assert answer.status_code == 422 and "the plan that you saw" in page.text
        assert page.form(button).fields["digest"] == digest
    assert count(runner) == before


def test_an_undo_of_several_needs_a_former_table_and_the_name_of_each(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    done = over(runner, runner.ask(operation="full_refresh", models="facts").id)
    assert done.swapped, done.detail
    token = visitor.see("/ask/undo", model="facts").form("Undo the refresh").fields["token"]
    both = visitor.see("/ask/undo", status=422, model="facts,totals")
    assert 'No former table of "totals" is kept' in both.text
    assert not [form for form in both.forms if "/ask/undo" in form.action]
    before = count(runner)
    fields = {"token": token, "key": "undo-both", "model": "facts,totals"}
    for name in ("facts", "facts,totals"):
        undo = forms.Form("post", "/ask/undo", {**fields, "name": name, "digest": "0123456789ab"})
        assert visitor.send(undo).status_code in (409, 422)
    assert count(runner) == before

    assert runner.run(models="totals").state is RunState.SUCCESS  # so that there is a former one
    done = over(runner, runner.ask(operation="full_refresh", models="facts totals").id)
    assert done.swapped, done.detail
    form = visitor.see("/ask/undo", model="facts,totals").form("Undo the refresh")
    refused = visitor.send(form, name="facts")
    assert (
        refused.status_code == 422 and "would change facts, totals" in Document(refused.text).text
    )
    undone = over(runner, visitor.begun(form, name="facts, totals"))
    assert undone.state is RunState.SUCCESS, undone.detail


def test_a_swap_of_several_needs_the_name_of_each(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    assert runner.run(models="totals").state is RunState.SUCCESS
    page = visitor.see("/ask/refresh", model="facts,totals")
    form = page.form("Refresh, and show me first")
    run = visitor.begun(form)
    assert until_it_holds(runner, run).refreshed == ("facts", "totals")
    fields = {"token": form.fields["token"], "run": run}
    asked = Document(visitor.send(forms.Form("post", "/ask/swap", fields), name="facts").text)
    assert "You typed 'facts', and this would change facts, totals." in asked.text
    assert "Type the name: facts, totals" in asked.text
    answer = visitor.send(asked.form("Swap"), name="facts,totals")
    assert answer.headers["location"] == f"/runs/{run}", answer.text
    assert over(runner, run).swapped


def test_what_cannot_be_refreshed_or_undone_says_why(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    runner.execute("create materialized view bi.sums as select sum(amount) from analytics.facts")
    try:
        page = visitor.see("/ask/refresh", model="facts")
        assert "It cannot be swapped in" in page.text and "bi.sums" in page.text
        assert "compared first" not in page.text
        assert not [form for form in page.forms if form.method == "post"]
    finally:
        runner.execute("drop materialized view bi.sums")
    snapshots = runner.repository / "snapshots"
    snapshots.mkdir(exist_ok=True)
    (snapshots / "seen.yml").write_text(
        "snapshots: [{name: seen, relation: ref('numbers'), config: "
        "{unique_key: id, strategy: check, check_cols: [id]}}]"
    )
    runner.publish("Add a snapshot")
    page = visitor.see("/ask/refresh", status=422, model="seen")
    assert "a snapshot is history" in page.text and "compared first" not in page.text
    page = visitor.see("/ask/undo", status=422, model="numbers")
    assert "This cannot be run now" in page.text and "swapped in again" not in page.text


def test_a_model_without_tests_has_not_passed_any(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    run = runner.run(operation="full_refresh", models=["totals"])
    assert run.swapped, run.detail
    page = visitor.see(f"/runs/{run.id}")
    assert "nothing to check It has no dbt tests." in page.text


def test_in_a_browser_the_question_comes_to_who_watches_and_is_answered(
    runner: Runner, page: Page, built: None
) -> None:
    runner.publish("Hold it while it is built", facts=FACTS.rstrip() + HELD_WHERE)
    page.goto(f"http://127.0.0.1:{runner.settings.runner_port}/ask/refresh?model=facts")
    begin = page.get_by_role("button", name="Refresh, and show me first")
    begin.wait_for()  # with the plan, which may come later than the page
    assert violations(page) == []
    with runner.held(LOCK):
        begin.click()
        page.wait_for_url("**/runs/*")
        page.get_by_text("Being built now").wait_for()
        page.evaluate("window.stillTheSame = true")
    run = page.url.rpartition("/")[2]
    swap = page.get_by_role("button", name="Swap")
    swap.wait_for()
    page.get_by_label("Type the name: facts").fill("fact")
    page.get_by_text("It waits for somebody’s decision to swap.").wait_for()
    # Else what somebody types as soon as the question is there would be lost.
    assert page.evaluate("window.stillTheSame === true"), "the page was loaded again"
    expect(swap).to_be_disabled()  # by a script, which may come later than the page
    page.get_by_label("Type the name: facts").fill("facts")
    swap.click()
    page.get_by_text("The old table is kept until").wait_for()
    assert over(runner, run).swapped
    page.get_by_role("link", name="Undo", exact=True).click()
    page.get_by_role("button", name="Undo the refresh").wait_for()
    expect(page.get_by_role("heading", name="Undo the refresh of facts")).to_be_visible()
    assert violations(page) == []


def test_in_a_browser_a_model_is_found_by_letters_of_its_name_and_run(
    runner: Runner, page: Page, built: None
) -> None:
    page.goto(f"http://127.0.0.1:{runner.settings.runner_port}/ask/run")
    page.keyboard.type("nubers")
    # All are listed at first, and without the script until the names are here.
    expect(page.get_by_role("list", name="Found").get_by_role("link")).to_have_count(1)
    page.get_by_role("list", name="Found").get_by_role("link", name="numbers").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Run numbers").wait_for()
    run_it = page.get_by_role("button", name="Run", exact=True)
    run_it.wait_for()  # with the plan, which may come later than the page
    assert violations(page) == []
    expect(page.get_by_text("Numbers and ten times as much.")).to_have_count(1)
    run_it.click()
    page.wait_for_url("**/runs/*")
    run = over(runner, page.url.rpartition("/")[2])
    assert (run.state, run.request.models) == (RunState.SUCCESS, ("numbers",))


# --------------------------------------------------- a plan that takes long

COMES = "dbt is working out what will run"


@contextmanager
def locked(runner: Runner, relation: str) -> Iterator[None]:
    """Somebody alters the table, so that whoever asks what depends on it waits."""
    with runner.connect("dbt") as connection, connection.transaction():
        connection.execute(f"lock table {relation} in access exclusive mode".encode())
        yield


def coming(visitor: Visitor, path: str) -> str:
    """The address of the live part that brings the plan to the page."""
    html = visitor.http.get(path).text
    assert COMES in html and not [form for form in Document(html).forms if form.method == "post"]
    return unescape(re.findall(r'hx-sse:connect="(/live/ask/[^"]+)"', html)[0])


def part_of(visitor: Visitor, address: str, begun: Signal) -> tuple[Document, list[str]]:
    """What a live part brings until it is over, and its events' names."""
    parts, events = [], []
    with visitor.http.stream("GET", address) as answer:
        begun.set()
        for line in answer.iter_lines():
            name, _, text = line.partition(":")
            if name == "data":
                parts.append(text.removeprefix(" "))
            elif name == "event":
                events.append(text.strip())
    return Document("\n".join(parts)), events


def test_a_plan_that_takes_long_comes_to_its_page_as_a_part_with_the_form(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    before = count(runner)
    with ThreadPoolExecutor(2) as others:
        with locked(runner, "analytics.facts"):
            address = coming(visitor, "/ask/refresh?model=facts")
            begun = Signal()
            part = others.submit(part_of, visitor, address, begun)
            program = others.submit(visitor.http.get, "/ask/refresh.json?model=facts")
            assert begun.wait(SECONDS) and not part.done() and not program.done()
        page, events = part.result(SECONDS)
        plan = program.result(SECONDS).json()["plan"]
    assert events == ["over"] and COMES not in page.text
    form = page.form("Refresh, and show me first")
    assert form.fields["digest"] == plan["digest"]
    assert count(runner) == before
    run = visitor.begun(form, why="it was worth waiting")
    assert visitor.begun(form, why="it was worth waiting") == run
    assert count(runner) == before + 1
    until_it_holds(runner, run)
    cancel = forms.Form("post", "/ask/cancel", {"token": form.fields["token"], "run": run})
    assert visitor.send(cancel).status_code == 303
    assert over(runner, run).state is RunState.CANCELLED


def test_a_plan_that_came_late_and_has_changed_since_begins_nothing(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    with ThreadPoolExecutor(1) as other:
        with locked(runner, "analytics.facts"):
            address = coming(visitor, "/ask/refresh?model=facts")
            part = other.submit(part_of, visitor, address, Signal())
        form = part.result(SECONDS)[0].form("Refresh, and show me first")
    runner.publish("Change facts meanwhile", facts=WITH_DOUBLE)
    before = count(runner)
    answer = visitor.send(form)
    assert answer.status_code == 409 and "changed since you looked" in answer.text
    assert Document(answer.text).form("Refresh, and show me first").fields["digest"]
    assert count(runner) == before


def test_why_there_is_no_plan_comes_late_too(visitor: Visitor) -> None:
    page, events = part_of(visitor, "/live/ask/undo?model=nothing", Signal())
    assert events == ["over"] and "This cannot be run now" in page.text and not page.forms


def test_people_who_wait_for_plans_hold_up_nothing_else_that_is_live(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    waiting = 40  # more than any pool of threads has on a machine of two cores
    with ThreadPoolExecutor(waiting) as others:
        with locked(runner, "analytics.facts"):
            address = coming(visitor, "/ask/refresh?model=facts")
            begun = [Signal() for _ in range(waiting)]
            parts = [others.submit(part_of, visitor, address, signal) for signal in begun]
            assert all(signal.wait(SECONDS) for signal in begun)
            with visitor.http.stream("GET", "/live/strip", timeout=SECONDS) as strip:
                assert any(line.startswith("data:") for line in strip.iter_lines())
            assert not any(part.done() for part in parts)
        digests = {
            part.result(SECONDS)[0].form("Refresh, and show me first").fields["digest"]
            for part in parts
        }
    assert len(digests) == 1


def test_without_scripts_the_page_that_waits_for_its_plan_follows(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    with ThreadPoolExecutor(1) as other:
        with locked(runner, "analytics.facts"):
            first = Document(visitor.http.get("/ask/refresh?model=facts").text)
            assert COMES in first.text and first.links["Load again"] == first.goes_on
            whole = other.submit(visitor.see, first.goes_on)
        page = whole.result(SECONDS)
    assert COMES not in page.text and not page.goes_on
    assert page.form("Refresh, and show me first").fields["digest"]


def test_in_a_browser_the_form_appears_when_the_plan_is_made(
    runner: Runner, page: Page, built: None
) -> None:
    with locked(runner, "analytics.facts"):
        page.goto(f"http://127.0.0.1:{runner.settings.runner_port}/ask/refresh?model=facts")
        page.get_by_text(COMES).wait_for()
        page.get_by_role("heading", name="Refresh facts").wait_for()
        assert violations(page) == []
    page.get_by_role("button", name="Refresh, and show me first").wait_for()
    expect(page.get_by_text(COMES)).to_have_count(0)
    assert violations(page) == []
    page.get_by_text("Swap without looking").click()
    swap = page.get_by_role("button", name="Refresh and swap")
    expect(swap).to_be_disabled()
    page.get_by_label("Type the name: facts").fill("facts")
    expect(swap).to_be_enabled()
    page.get_by_label("totals").check()
    page.wait_for_url("**downstream=yes*")
    page.get_by_label("totals").wait_for()
    expect(page.get_by_label("totals")).to_be_checked()


# ------------------------------------------------------------- who and how


def test_a_form_of_nobody_begins_nothing(runner: Runner, visitor: Visitor, built: None) -> None:
    form = visitor.see("/ask/run", model="facts").form("Run")
    before = count(runner)
    for token in ("", "x", form.fields["token"][:-1] + "x"):
        answer = visitor.send(form, token=token)
        assert answer.status_code == 403 and "This form is not one of" in answer.text
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ):
        answer = visitor.http.post("/ask/run", data=form.fields, headers=headers)
        assert answer.status_code == 403
    assert count(runner) == before


def test_a_key_that_was_used_for_something_else_leads_to_its_run(
    runner: Runner, visitor: Visitor, built: None
) -> None:
    form = visitor.see("/ask/run", model="numbers").form("Run")
    run = visitor.begun(form)
    other = visitor.see("/ask/run", model="totals").form("Run")
    answer = visitor.send(other, key=form.fields["key"])
    page = Document(answer.text)
    assert answer.status_code == 409 and "sent before, for something else" in page.text
    assert f"/runs/{run}" in page.links.values()
    over(runner, run)


def test_the_json_of_a_refusal_is_a_problem(visitor: Visitor, runner: Runner) -> None:
    answer = visitor.http.get("/ask/undo.json", params={"model": "numbers"})
    problem: dict[str, Any] = answer.json()
    assert answer.status_code == problem["status"] == 422
    assert isinstance(answer, httpx.Response) and problem["type"].startswith("urn:mage-dbt:")
