"""The runner's doors with the login on: who comes in where, and with which rights at most."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.errors import Conflict, Forbidden, RequestError
from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from tests.groups_header import groups_header
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.forms import Document, Visitor
from tests.harness.models import sleepy
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS

ADDRESS = "https://mage.example.com"

ANALYSTS_MAY = "Analysts, operators and owners may do this; your role here is viewer."

PEOPLE = {
    "vera@example.com": "viewers",
    "ana@example.com": "analysts,viewers",
    "olga@example.com": "operators",
    "otto@example.com": "owners",
    "nobody@example.com": "marketing",
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, server: Database) -> Iterator[Runner]:
    """A runner that asks for the login, on a real repository and database."""
    folder = tmp_path_factory.mktemp("doors")
    with runners.on_project(
        folder,
        server,
        "steps",
        LOGIN_REQUIRED="true",
        MAGE_PUBLIC_URL=ADDRESS,
        LOGIN_VIEWER_GROUPS="viewers",
        LOGIN_ANALYST_GROUPS="analysts",
        LOGIN_OPERATOR_GROUPS="operators",
        LOGIN_OWNER_GROUPS="owners",
    ) as found:
        for file in (found.home.proxy_people_secret, found.home.proxy_machines_secret):
            read_or_make(file)
        yield found


def at(socket: Path, **headers: str) -> httpx.Client:
    """`X_Forwarded_Groups` holds groups with commas between; they are told as the proxy does."""
    if groups := headers.pop("X_Forwarded_Groups", ""):
        told = groups_header(*groups.split(","), secret=headers["X_Workspace_Proxy"])
        headers["X_Forwarded_Groups"] = told
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=str(socket)),
        base_url=ADDRESS.replace("https", "http"),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        timeout=SECONDS,
    )


def person(runner: Runner, name: str, **headers: str) -> httpx.Client:
    return at(
        runner.home.people_socket,
        X_Workspace_Proxy=runner.home.proxy_people_secret.read_text(),
        X_Forwarded_Email=name,
        X_Forwarded_Groups=PEOPLE[name],
        **headers,
    )


def machine(runner: Runner, name: str, groups: str) -> httpx.Client:
    return at(
        runner.home.machines_socket,
        X_Workspace_Proxy=runner.home.proxy_machines_secret.read_text(),
        X_Forwarded_Email=name,
        X_Forwarded_Groups=groups,
    )


def callers(runner: Runner, run: str) -> list[Any]:
    with psycopg.connect(runner.postgres.url("runner")) as connection:
        return connection.execute("select caller from ledger.run where id = %s", (run,)).fetchall()


def test_nothing_but_ping_answers_around_the_proxy(guarded: Runner) -> None:
    token = guarded.home.api_token.read_text()
    address = f"http://127.0.0.1:{guarded.settings.runner_port}"
    with httpx.Client(base_url=address, trust_env=False, timeout=SECONDS) as http:
        assert http.get("/ping").status_code == 200
        for headers in ({}, {"Authorization": f"Bearer {token}"}):
            for path in ("/v1/status", "/metrics", "/openapi.json", "/ping/", "//ping", "/Ping"):
                assert http.get(path, headers=headers).status_code == 401, path
    other = guarded.home.proxy_machines_secret.read_text()
    for secret in ("", "x", other):
        with at(
            guarded.home.people_socket,
            X_Workspace_Proxy=secret,
            X_Forwarded_Email="otto@example.com",
            X_Forwarded_Groups="owners",
        ) as http:
            for path in ("/runner/ping", "/runner/v1/status", "/ping", "/"):
                assert http.get(path).status_code == 401, path


def test_a_viewer_reads_and_begins_nothing(guarded: Runner) -> None:
    with person(guarded, "vera@example.com") as http:
        assert http.get("/runner/v1/status").status_code == 200
        assert http.get("/runner/v1/models").json()["models"]
        for path in ("/runner/v1/runs", "/runner/v1/plans"):
            refused = http.post(path, json={"select": "apart"})
            assert refused.status_code == 403
            assert "for the role analyst; yours here is viewer" in refused.json()["detail"]
    with person(guarded, "nobody@example.com") as http:
        refused = http.get("/runner/v1/status")
        assert refused.status_code == 403 and "in no group" in refused.json()["detail"]


def test_a_viewer_sees_on_the_page_who_may_ask_for_runs(guarded: Runner) -> None:
    with person(guarded, "vera@example.com") as http:
        for path in ("/ask/run?model=apart", "/ask/refresh?model=apart", "/ask/undo?model=apart"):
            answer = http.get(f"/runner{path}")
            page = Document(answer.text)
            assert answer.status_code == 403, path
            assert ANALYSTS_MAY in page.text, page.text
            assert not [form for form in page.forms if form.method == "post"]
            assert http.get(f"/runner{path.replace('?', '.json?')}").status_code == 403
        for path in ("/ask/run", "/ask/cancel", "/ask/swap"):
            assert http.post(f"/runner{path}", data={"model": "apart"}).status_code == 403


def test_a_viewer_sees_the_buttons_of_others_switched_off_and_who_may_press_them(
    guarded: Runner,
) -> None:
    text = (guarded.repository / "models" / "apart.sql").read_text()
    guarded.live(guarded.commit("Sleep", apart=sleepy()))
    run = guarded.client.submit(Request.parse({"models": "apart"}))
    guarded.running(run, "pg_sleep")
    with person(guarded, "vera@example.com") as http:
        for path, button in (("/", "Stop"), (f"/runs/{run.id}", "Stop"), ("/docs/", "Make it")):
            page = Visitor(http).see(f"/runner{path}")
            assert ANALYSTS_MAY in page.text and button in page.text, path
            assert not [form for form in page.forms if form.method == "post"], path
    guarded.client.cancel(run.id, "olga@example.com")
    guarded.live(guarded.commit("Back", apart=text))


def test_a_language_is_kept_for_the_person_because_the_proxy_takes_cookies_away(
    guarded: Runner,
) -> None:
    with person(guarded, "vera@example.com") as vera, person(guarded, "ana@example.com") as ana:
        visitor = Visitor(vera)
        answer = visitor.send(visitor.see("/runner/runs").choice_of("한국어"))
        assert answer.headers["location"] == "/runner/runs" and not answer.cookies
        korean = visitor.see("/runner/")
        assert '<html lang="ko">' in korean.html
        assert '<html lang="en">' in ana.get("/runner/").text
        # Of somebody else's page: a link, and a form without this reader's own token.
        assert vera.get("/runner/language/en").status_code == 405
        theirs = Visitor(ana).see("/runner/").choice_of("한국어").fields["token"]
        assert visitor.send(korean.choice_of("English"), token=theirs).status_code == 403
        assert '<html lang="ko">' in vera.get("/runner/").text
        visitor.send(korean.choice_of("English"))
        assert '<html lang="en">' in vera.get("/runner/").text


def test_the_page_s_address_without_its_slash_leads_to_the_page(guarded: Runner) -> None:
    with person(guarded, "vera@example.com") as http:
        answer = http.get("/runner")
        assert (answer.status_code, answer.headers["location"]) == (307, "/runner/")
        assert http.get("/runners").status_code == 404


def test_a_form_of_the_page_is_its_readers_alone(guarded: Runner) -> None:
    with person(guarded, "ana@example.com") as ana, person(guarded, "olga@example.com") as olga:
        form = Visitor(ana).see("/runner/ask/run", model="apart").form("Run")
        assert form.action.partition("?")[0] == "/runner/ask/run"
        assert Visitor(olga).send(form).status_code == 403
        answer = Visitor(ana).send(form)
        assert answer.status_code == 303
        place, _, run = answer.headers["location"].rpartition("/")
        assert place == "/runner/runs"
        assert callers(guarded, run) == [("ana@example.com",)]


def test_a_sign_in_between_a_form_and_its_answer_leads_back_to_what_it_was_about(
    guarded: Runner,
) -> None:
    with person(guarded, "ana@example.com") as http:
        form = Visitor(http).see("/runner/ask/run?model=apart&with=readers")
        # The proxy sends the browser to the address alone once somebody has signed in.
        again = Visitor(http).see(form.form("Run").action)
        assert form.form("Run").action == again.form("Run").action
        for path, back in (
            ("/ask/cancel?run=20261123-080000-4f2a9c", "/runner/runs/20261123-080000-4f2a9c"),
            ("/ask/swap?run=20261123-080000-4f2a9c", "/runner/runs/20261123-080000-4f2a9c"),
            ("/ask/cancel?run=https://evil.example/", "/runner/runs/https%3A//evil.example/"),
            ("/settings/schedule", "/runner/settings"),
        ):
            answer = http.get(f"/runner{path}")
            assert answer.status_code == 405 and answer.headers["allow"] == "POST"
            page = Document(answer.text)
            assert "what you had pressed was not done" in page.text
            assert page.links["Back to where it was"] == back


@pytest.mark.parametrize("path", ["/", "/now.json", "/runs", "/ask/run", "/docs/", "/language/ko"])
def test_the_page_is_for_people_and_not_for_programs(guarded: Runner, path: str) -> None:
    with machine(guarded, "ci-bot", "operators") as http:
        answer = http.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].startswith("The page is for people.")
        assert http.post("/ask/run", data={"model": "apart"}).status_code == 404
    with at(guarded.home.runner_socket) as http:  # a notebook's
        assert http.get(path).status_code == 404


def test_passing_over_a_check_on_the_page_is_for_operators(guarded: Runner) -> None:
    address, words = "/runner/ask/refresh", "Refresh, and show me first"
    with person(guarded, "ana@example.com") as http:
        page = Visitor(http).see(address, model="apart")
        assert "Operators and owners may do this; your role here is analyst" in page.text
        asked = Visitor(http).send(page.form(words), override_rows="yes", why="I say so")
        assert asked.status_code == 403 and "for the role operator" in asked.text
    with person(guarded, "olga@example.com") as http:
        form = Visitor(http).see(address, model="apart").form(words)
        assert "override_rows" in form.boxes


def test_who_is_signed_in_stands_in_the_ledger_and_cannot_be_another(guarded: Runner) -> None:
    with person(guarded, "ana@example.com") as http:
        told = http.post("/runner/v1/runs", json={"select": "apart"})
        assert told.status_code == 202
        assert told.headers["location"] == f"/runner/v1/runs/{told.json()['id']}"
        assert {one.split("/v1/")[0] for one in told.json()["links"].values()} == {"/runner"}
        page = http.get("/runner/v1/runs", params={"limit": 1}).json()
        assert http.get(page["runs"][0]["links"]["self"]).status_code == 200
        assert page["next"] is None or page["next"].startswith("/runner/v1/runs?")
        assert callers(guarded, told.json()["id"]) == [("ana@example.com",)]
        forged = http.post("/runner/v1/runs", json={"caller": "olga@example.com"})
        assert forged.status_code == 422
        guarded.over(guarded.client.run(told.json()["id"]))


def test_dbts_own_full_refresh_is_for_operators_and_so_is_its_rerun(guarded: Runner) -> None:
    asked = {"operation": "command", "command": "run --full-refresh -s facts"}
    with person(guarded, "ana@example.com") as http:
        refused = http.post("/runner/v1/runs", json=asked)
        assert refused.status_code == 403 and "for the role operator" in refused.text
    with person(guarded, "olga@example.com") as http:
        begun = http.post("/runner/v1/runs", json=asked).json()
        run = guarded.over(guarded.client.run(begun["id"]))
    # Nothing it reads was ever built.
    assert run.state is RunState.ERROR and run.caller == "olga@example.com"
    again = {"operation": "rerun_failed", "of": run.id}
    with person(guarded, "ana@example.com") as http:
        assert http.post("/runner/v1/runs", json=again).status_code == 403
        page = Visitor(http).see("/runner/ask/rerun", status=403, run=run.id)
        assert "Operators and owners may do this; your role here is analyst." in page.text
    with pytest.raises(Forbidden):
        guarded.client.submit(Request.parse(again))
    with person(guarded, "otto@example.com") as http:
        accepted = http.post("/runner/v1/runs", json=again)
        assert accepted.status_code == 202
        guarded.over(guarded.client.run(accepted.json()["id"]))


def test_an_analysts_full_refresh_in_place_takes_no_view_along(guarded: Runner) -> None:
    built = guarded.run(select="numbers facts facts_view totals")
    assert built.state is RunState.SUCCESS, built.detail
    guarded.execute("create view analytics.by_hand as select * from analytics.facts")
    in_place = {"operation": "full_refresh", "in_place": True}
    alone: dict[str, Any] = {**in_place, "select": "facts"}
    whole: dict[str, Any] = {**in_place, "select": "facts+"}
    with person(guarded, "ana@example.com") as http:
        refused = http.post("/runner/v1/plans", json=alone)
        assert refused.status_code == 422 and "facts_view" in refused.text
        begun = http.post("/runner/v1/runs", json=whole).json()
    run = guarded.over(guarded.client.run(begun["id"]))
    assert run.state is RunState.ERROR and "not rebuild: view analytics.by_hand" in run.detail
    with pytest.raises(RequestError, match="by_hand"):
        guarded.client.plan(Request.parse({**whole, "caller": "otto@example.com"})).to_json()
    with person(guarded, "ana@example.com") as http:
        taken = http.post("/runner/v1/runs", json={**whole, "keep_views": False})
        assert taken.status_code == 422  # nobody says so of themselves
    with person(guarded, "olga@example.com") as http:
        begun = http.post("/runner/v1/runs", json=whole).json()
    run = guarded.over(guarded.client.run(begun["id"]))
    assert run.state is RunState.SUCCESS, run.detail
    # The view was put back. Without it nothing is in the way of an analyst's, from Mage too.
    guarded.execute("drop view analytics.by_hand")
    run = guarded.run(**whole, caller="ana@example.com")
    assert run.state is RunState.SUCCESS, run.detail


def test_what_comes_from_mage_is_an_analysts_whoever_it_claims_to_be(guarded: Runner) -> None:
    run = guarded.run(select="apart", caller="otto@example.com", cause="form")
    assert callers(guarded, run.id) == [("otto@example.com via Mage",)]
    asked = {"operation": "command", "command": "build --full-refresh"}
    with pytest.raises(Forbidden, match="for the role operator; yours here is analyst"):
        guarded.client.submit(Request.parse({**asked, "caller": "otto@example.com"}))


def test_a_machine_has_the_role_of_its_groups_and_a_door_of_its_own(guarded: Runner) -> None:
    with machine(guarded, "chat-bot", "analysts") as http:
        run = http.post("/v1/runs", json={"select": "apart", "caller": "kim"}).json()["id"]
        assert callers(guarded, run) == [("chat-bot: kim",)]
        typed = {"operation": "command", "command": "run --full-refresh -s apart"}
        refused = http.post("/v1/runs", json=typed)
        assert refused.status_code == 403
        assert http.get("/v1/status", headers={"Origin": ADDRESS}).status_code == 403
        assert http.get("/runner/v1/status").status_code == 404
        guarded.over(guarded.client.run(run))
    with machine(guarded, "stranger", "") as http:
        assert http.get("/v1/status").status_code == 403


def test_another_page_or_host_is_refused_whoever_is_signed_in(guarded: Runner) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        with person(guarded, "otto@example.com", **headers) as http:
            refused = http.post("/runner/v1/runs", json={"select": "apart"})
            assert refused.status_code == 403, headers
    with person(guarded, "otto@example.com", Origin=ADDRESS) as http:
        assert http.get("/runner/v1/status").status_code == 200
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    link = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}  # in a chat
    with person(guarded, "otto@example.com") as http:
        for how, status in (({}, 403), ({**link, "Sec-Fetch-Dest": "iframe"}, 403), (link, 200)):
            answer = http.get("/runner/v1/status", headers={**elsewhere, **how})
            assert answer.status_code == status, how


def test_a_new_secret_of_the_proxy_holds_at_once(guarded: Runner) -> None:
    with person(guarded, "ana@example.com") as http:
        file = guarded.home.proxy_people_secret
        file.write_text("another")
        try:
            assert http.get("/runner/v1/status").status_code == 401
        finally:
            file.write_text(http.headers["X-Workspace-Proxy"])
        assert http.get("/runner/v1/status").status_code == 200


def test_a_socket_is_its_users_alone_unless_its_folder_is_shared(guarded: Runner) -> None:
    people, machines = guarded.home.people_socket, guarded.home.machines_socket
    for one in (guarded.home.runner_socket, people, machines):
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
        assert stat.S_IMODE(one.parent.stat().st_mode) == 0o700
    people.parent.chmod(0o2750)
    try:
        guarded.restart_runner()
        assert stat.S_IMODE(people.stat().st_mode) == 0o660
        assert stat.S_IMODE(people.parent.stat().st_mode) == 0o2750
        assert stat.S_IMODE(machines.stat().st_mode) == 0o600
    finally:
        people.parent.chmod(0o700)


def test_the_daily_builds_time_and_pause_are_for_operators(guarded: Runner) -> None:
    change = {"build_at": "07:30", "why": "the source is early"}
    says = "role operator; yours here is"
    for name, role in (("vera@example.com", "viewer"), ("ana@example.com", "analyst")):
        with person(guarded, name) as http:
            assert http.get("/runner/v1/schedule").json()["may_change"] == "operator"
            refused = http.put("/runner/v1/schedule", json=change)
            assert refused.status_code == 403 and f"{says} {role}" in refused.json()["detail"]
            assert http.get("/runner/v1/alerts").status_code == 200
            refused = http.post("/runner/v1/alerts/test")
            assert refused.status_code == 403 and f"{says} {role}" in refused.json()["detail"]
            page = http.get("/runner/settings")
            assert f"Operators and owners may do this; your role here is {role}." in page.text
            assert page.text.count("<fieldset disabled>") == 2
            answer = http.post("/runner/settings/schedule", data={"change": "reset"})
            assert answer.status_code == 403 and f"{says} {role}" in answer.text
    with pytest.raises(Forbidden, match="operator; yours here is analyst"):
        guarded.client.change_schedule(build_at="07:30", by="olga@example.com")
    with person(guarded, "olga@example.com") as http:
        assert http.put("/runner/v1/schedule", json=change | {"by": "kim"}).status_code == 422
        answer = http.put("/runner/v1/schedule", json=change)
        assert answer.status_code == 200, answer.text
        assert "<fieldset disabled>" not in http.get("/runner/settings").text
        schedule = answer.json()["schedule"]
        assert (schedule["build_at"], schedule["settings_at"]) == ("07:30", "08:00")
        assert schedule["by"] == "olga@example.com"
    with machine(guarded, "bot", "analysts") as http:
        assert http.put("/v1/schedule", json={"reset": True}).status_code == 403
    with machine(guarded, "bot", "operators") as http:
        answer = http.put("/v1/schedule", json={"reset": True, "by": "kim"})
        assert answer.json()["schedule"]["by"] == "bot: kim"
        assert answer.json()["schedule"]["settings_at"] is None


def test_what_mage_asks_for_during_a_pause_is_refused_with_who_and_why(guarded: Runner) -> None:
    asked = {"cause": "schedule", "caller": "Mage, trigger Every morning", "mage_run": 901}
    with person(guarded, "olga@example.com") as http:
        pause = {"paused": True, "why": "inventory"}
        assert http.put("/runner/v1/schedule", json=pause).json()["today"] == "paused"
        with pytest.raises(Conflict, match=r"paused by olga@example.com \(inventory\)"):
            guarded.ask(**asked)
        assert http.put("/runner/v1/schedule", json={"paused": False}).status_code == 200
    with pytest.raises(Conflict, match=r"not due before|during a pause, and is not made up for"):
        guarded.ask(**asked)
