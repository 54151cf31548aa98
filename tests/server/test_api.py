"""The HTTP API as a program at a desk uses it: over real TCP, with the token."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from mage_dbt.errors import Conflict, KeyReused
from mage_dbt.ledger import Ledger
from mage_dbt.model.request import Request
from mage_dbt.model.run import EventKind, Run, RunState
from mage_dbt.server.authentication import CallLimits
from tests.harness.models import sleepy
from tests.harness.runner import Runner
from tests.harness.services import service
from tests.harness.waiting import SECONDS, wait_until

PROJECT = "steps"

HOST = "127.0.0.1"

ELSEWHERE = "20260101-000000-0000ee"
"""A run that another runner executes."""


@pytest.fixture(scope="module")
def http(runner: Runner) -> Iterator[httpx.Client]:
    token = runner.home.api_token.read_text()
    with httpx.Client(
        base_url=f"http://{HOST}:{runner.settings.runner_port}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=SECONDS,
        trust_env=False,
    ) as client:
        yield client


@pytest.fixture(scope="module")
def built(runner: Runner) -> Run:
    """A run of everything, over."""
    run = runner.run(why="the beginning", caller="Kim", select="numbers facts+ apart")
    assert run.state is RunState.SUCCESS, run.detail
    return run


@pytest.fixture(scope="module")
def failed(runner: Runner, built: Run) -> Run:
    """A run with a failed and a skipped node, over; the model is repaired afterwards."""
    good = (runner.repository / "models" / "facts.sql").read_text()
    runner.live(runner.commit("Break facts", facts="select id / 0 as id from {{ ref('numbers') }}"))
    run = runner.run(select="facts+", why="it breaks")
    assert run.state is RunState.ERROR
    runner.live(runner.commit("Repair facts", facts=good))
    return run


def ledger(runner: Runner, sql: str, *values: Any) -> list[Any]:
    with psycopg.connect(runner.postgres.url("runner")) as connection:
        return connection.execute(sql.encode(), values).fetchall()


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The answer's problem, which must be a whole one of that kind."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["type"] == f"urn:mage-dbt:{kind}" and told["status"] == status
    assert told["title"] and told["detail"]
    assert told["instance"] == quote(answer.request.url.path[:200], safe="/")
    return told


def raw(runner: Runner, head: str, body: bytes = b"", token: bool = True) -> str:
    """Sends bytes as they are and gives the first of what comes back."""
    allowed = f"Authorization: Bearer {runner.home.api_token.read_text()}\r\n" if token else ""
    with socket.create_connection(
        (HOST, runner.settings.runner_port), timeout=SECONDS
    ) as connection:
        connection.sendall(head.format(token=allowed).encode("latin-1") + body)
        return connection.recv(65536).decode(errors="replace")


# ------------------------------------------------------------------ asking


def test_a_run_is_accepted_with_its_address_and_mages(runner: Runner, http: httpx.Client) -> None:
    answer = http.post("/v1/runs", json={"select": "apart", "why": "é 日本 🙂", "caller": "Kim"})
    assert answer.status_code == 202
    told = answer.json()
    assert answer.headers["location"] == told["links"]["self"] == f"/v1/runs/{told['id']}"
    assert told["links"]["mage"] == f"/v1/runs/{told['id']}/mage"
    assert told["added"] is True and told["cause"] == "api" and told["caller"] == "API: Kim"
    run = runner.over(runner.client.run(told["id"]))
    assert run.state is RunState.SUCCESS and run.why == "é 日本 🙂"
    problem(http.get(told["links"]["mage"]), 404, "not-found")


def test_fifty_simultaneous_posts_with_one_key_are_one_run_and_one_execution(
    runner: Runner, http: httpx.Client
) -> None:
    body = {"select": "apart", "variables": {"size": 1e0}, "why": "at once"}

    def post(_: int) -> httpx.Response:
        return http.post("/v1/runs", json=body, headers={"Idempotency-Key": "fifty at once"})

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    assert sorted(one.status_code for one in answers) == [200] * 49 + [202]
    assert len({one.json()["id"] for one in answers}) == 1
    assert sum(one.json()["added"] for one in answers) == 1
    run = runner.over(runner.client.run(answers[0].json()["id"]))
    assert run.state is RunState.SUCCESS
    found = ledger(runner, "select id from ledger.run where idempotency_key = 'api:fifty at once'")
    assert found == [(run.id,)]
    began = ledger(
        runner,
        "select count(*) from ledger.event where run = %s and kind = 'node_started'"
        " and data ->> 'name' = 'apart'",
        run.id,
    )
    assert began == [(1,)]


def test_fifty_simultaneous_posts_of_two_bodies_with_one_key_are_one_run(
    runner: Runner, http: httpx.Client
) -> None:
    def post(number: int) -> httpx.Response:
        body = {"select": "apart" if number % 2 else "numbers"}
        return http.post("/v1/runs", json=body, headers={"Idempotency-Key": "two bodies"})

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    assert sorted(one.status_code for one in answers) == [200] * 24 + [202] + [409] * 25
    [run] = {one.json()["id"] for one in answers if one.is_success}
    assert {one.json()["run"] for one in answers if not one.is_success} == {run}
    runner.over(runner.client.run(run))


def test_a_key_with_another_body_is_refused_and_names_the_run_and_what_differs(
    runner: Runner, http: httpx.Client
) -> None:
    key = {"Idempotency-Key": "once"}
    first = http.post("/v1/runs", headers=key, json={"select": "apart", "variables": {"size": 1}})
    assert first.status_code == 202
    for differs, value in (("select", "numbers"), ("variables", {"size": True}), ("why", "late")):
        other = {"select": "apart", "variables": {"size": 1}, differs: value}
        told = problem(http.post("/v1/runs", headers=key, json=other), 409, "key-reused")
        assert first.json()["id"] in told["detail"] and told["run"] == first.json()["id"]
        assert f"`{differs}`" in told["detail"]
    again = http.post("/v1/runs", headers=key, json={"variables": {"size": 1}, "select": ["apart"]})
    assert again.status_code == 200 and again.json()["added"] is False
    # A caller's key is no daily build's: another run may have it, and the daily build's stays free.
    daily = {"Idempotency-Key": "daily:2126-11-24"}
    run = http.post("/v1/runs", headers=daily, json={"select": "apart"}).json()
    query = "select idempotency_key, morning from ledger.run where id = %s"
    assert runner.rows("ledger", query, run["id"]) == [("api:daily:2126-11-24", None)]
    runner.over(runner.client.run(run["id"]))
    # A block's key goes through the same comparison; only with the prefix is it the same key.
    with pytest.raises(KeyReused, match="belongs to run"):
        runner.client.submit(Request.parse({"select": "numbers", "key": "api:once"}))
    runner.over(runner.client.run(first.json()["id"]))


def test_over_tcp_nobody_reads_like_another_door(runner: Runner, http: httpx.Client) -> None:
    for name, value in (("cause", "schedule"), ("key", "daily:2026-11-24"), ("mage_run", 7)):
        told = problem(
            http.post("/v1/runs", json={"select": "apart", name: value}), 422, "request-error"
        )
        assert f"`{name}`" in told["detail"]
    problem(http.post("/v1/runs", json={"caller": "Kim\nMage, trigger x"}), 422, "request-error")
    answer = http.post("/v1/runs", json={"select": "apart", "caller": " Mage, trigger x "})
    assert answer.json()["caller"] == "API: Mage, trigger x"
    runner.over(runner.client.run(answer.json()["id"]))


def test_a_plan_changes_nothing_and_shows_what_would_run(http: httpx.Client, built: Run) -> None:
    before = http.get("/v1/runs").json()
    plan = http.post("/v1/plans", json={"select": "facts+"})
    assert plan.status_code == 200 and len(plan.json()["digest"]) == 64
    assert {"facts", "facts_view", "totals"} <= {one["name"] for one in plan.json()["nodes"]}
    told = problem(http.post("/v1/plans", json={"select": "fact"}), 422, "bad-selection")
    assert "Did you mean facts" in told["hint"]
    assert http.get("/v1/runs").json() == before


# ----------------------------------------------------------------- reading


def test_lists_are_filtered_and_paged(http: httpx.Client, built: Run, failed: Run) -> None:
    def ids(**wanted: Any) -> set[str]:
        answer = http.get("/v1/runs", params={"limit": 500, **wanted})
        assert answer.status_code == 200, answer.text
        assert answer.json()["next"] is None
        return {one["id"] for one in answer.json()["runs"]}

    every = ids()
    assert {built.id, failed.id} <= every
    assert failed.id in ids(state="Error") and built.id not in ids(state="Error")
    assert built.id in ids(cause="tool", operation="build") and built.id not in ids(cause="api")
    assert ids(caller="Kim") == {built.id}
    assert ids(commit=failed.commit[:7]) == {failed.id}
    assert built.id in ids(node="facts") and built.id in ids(node="model.steps.facts")
    assert ids(node="totals") >= {built.id, failed.id} and failed.id not in ids(node="apart")
    assert ids(since=failed.asked_at.isoformat()) | ids(until=failed.asked_at.isoformat()) == every
    assert failed.id not in ids(until=failed.asked_at.isoformat())
    assert ids(since=datetime(2100, 1, 1, tzinfo=UTC).isoformat()) == set()
    assert ids(follows=failed.id) == set() and ids(mage_run=99) == set()

    pages, address = [], "/v1/runs?limit=2"
    while address:
        page = http.get(address).json()
        pages.append([one["id"] for one in page["runs"]])
        address = page["next"]
    assert [len(one) for one in pages[:-1]] == [2] * (len(pages) - 1)
    paged = [one for page in pages for one in page]
    assert set(paged) == every
    assert paged == [one["id"] for one in http.get("/v1/runs?limit=500").json()["runs"]]


def test_a_run_in_a_list_has_counts_and_not_its_nodes(http: httpx.Client, failed: Run) -> None:
    [row] = http.get("/v1/runs", params={"commit": failed.commit}).json()["runs"]
    assert row["counts"] == failed.counts() and row["planned_nodes"] == len(failed.planned)
    assert not {"nodes", "planned"} & row.keys()
    whole = http.get(row["links"]["self"]).json()
    assert len(whole["nodes"]) == len(failed.nodes) and whole["counts"] == row["counts"]


def test_the_answer_of_a_run_is_what_the_ledger_holds_of_it(
    runner: Runner, http: httpx.Client, failed: Run
) -> None:
    ledger = Ledger(runner.postgres.url("runner"))
    ledger.open()
    try:
        held = ledger.run(failed.id)
    finally:
        ledger.close()
    assert held.failed and held.planned and len(held.nodes) > len(held.failed)
    shown = http.get(f"/v1/runs/{failed.id}").json()
    [chapter] = shown.pop("story")
    del shown["links"]
    assert shown == held.to_json()
    assert chapter["failed"] == [node.name for node in held.failed]


def test_a_filter_that_makes_no_sense_is_refused(http: httpx.Client) -> None:
    for query, says in (
        ("stat=Error", "Did you mean state"),
        ("state=Eror", "Did you mean Error"),
        ("state=Error&state=Queued", "given 2 times"),
        ("since=yesterday", "a time with its offset"),
        ("since=2026-11-23T08:00:00+09:00", "%2B"),
        ("since=2026-02-31T08:00:00Z", "a time with its offset"),
        ("commit=HEAD", "beginning of a SHA"),
        ("before=20260101-000000-000000", "no run"),
        ("mage_run=99999999999999999999999", "mage_run"),
        ("caller=%00", "NUL"),
        ("node=", "empty"),
        ("limit=0", "limit"),
    ):
        answer = http.get(f"/v1/runs?{query}")
        assert answer.status_code == 422, (query, answer.text)
        assert says in f"{answer.json()['detail']} {answer.json()['hint']}", answer.text


def test_a_node_tells_its_message_its_timing_and_its_compiled_sql(
    runner: Runner, http: httpx.Client, built: Run, failed: Run
) -> None:
    told = http.get(f"/v1/runs/{built.id}/nodes/facts").json()
    assert told["status"] == "success" and told["rows"] == 3 and told["node"] == "model.steps.facts"
    assert told["started_at"] <= told["finished_at"] and told["seconds"] > 0
    assert 'select id, amount from "warehouse"."analytics"."numbers"' in told["compiled_sql"]
    assert told["relation"] == '"warehouse"."analytics"."facts"'
    broken = http.get(f"/v1/runs/{failed.id}/nodes/model.steps.facts").json()
    assert broken["status"] == "error" and "division by zero" in broken["message"]
    assert "id / 0" in broken["compiled_sql"]
    skipped = http.get(f"/v1/runs/{failed.id}/nodes/totals").json()
    assert skipped["status"] == "skipped" and skipped["because"] == "facts"
    assert skipped["compiled_sql"] is None and "not compiled" in skipped["compiled_sql_note"]
    test = http.get(f"/v1/runs/{built.id}/nodes/unique_numbers_id").json()
    assert test["type"] == "test" and "count(*)" in test["compiled_sql"]
    lost = problem(http.get(f"/v1/runs/{built.id}/nodes/fact"), 404, "not-found")
    assert "Did you mean facts" in lost["hint"]
    problem(http.get(f"/v1/runs/{built.id}/nodes/fa%00cts"), 404, "not-found")
    (runner.home.runs / failed.id).rename(runner.home.runs.parent / "moved")
    gone = http.get(f"/v1/runs/{failed.id}/nodes/facts").json()
    assert gone["compiled_sql"] is None and "folder is gone" in gone["compiled_sql_note"]


def test_events_resumed_in_the_middle_are_neither_lost_nor_repeated(
    runner: Runner, http: httpx.Client
) -> None:
    run = http.post("/v1/runs", json={"select": "numbers apart"}).json()
    seen: list[int] = []
    kinds: list[str] = []
    ended = False
    while not ended:
        headers = {"Last-Event-ID": str(seen[-1])} if seen else {}
        with http.stream("GET", run["links"]["events"], headers=headers, timeout=SECONDS) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            taken = 0
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    seen.append(int(line.removeprefix("id: ")))
                elif line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    assert event["seq"] == seen[-1]
                    kinds.append(event["kind"])
                    taken += 1
                    ended = event["kind"] == "state" and RunState(event["data"]["state"]).final
                    if taken == 3:
                        break  # the connection is lost here, in the middle
    kept = ledger(
        runner, "select seq, kind from ledger.event where run = %s order by seq", run["id"]
    )
    assert list(zip(seen, kinds, strict=True)) == kept
    events = run["links"]["events"]
    assert http.get(f"{events}?after={seen[-1]}").status_code == 204
    after = http.get(f"{events}?after={seen[0]}", headers={"Last-Event-ID": str(seen[-2])})
    assert [line for line in after.text.splitlines() if line[:3] == "id:"] == [f"id: {seen[-1]}"]
    problem(http.get(events, headers={"Last-Event-ID": "x"}), 400, "malformed")


def test_every_kind_of_event_that_is_sent_is_declared(
    runner: Runner, http: httpx.Client, built: Run
) -> None:
    document = http.get("/openapi.json").json()
    answer = document["paths"]["/v1/runs/{run}/events"]["get"]["responses"]["200"]
    declared = answer["content"]["text/event-stream"]["schema"]["properties"]["event"]["enum"]
    assert declared == list(EventKind)
    others = Ledger(runner.postgres.url("runner"))
    others.open()
    with runner.connect("dbt") as holder, holder.transaction():
        holder.execute(
            "lock table analytics.numbers in access exclusive mode"
        )  # it is not over yet
        run = http.post("/v1/runs", json={"select": "numbers+"}).json()
        try:
            others.has_mage_run(run["id"], 5)
            with psycopg.connect(runner.postgres.url("runner")) as newer:  # of a newer version
                newer.execute(
                    "insert into ledger.event (run, at, kind, data)"
                    " values (%s, now(), 'new_kind', '{}')",
                    [run["id"]],
                )
            others.ask_to_cancel(run["id"], "Kim")
        finally:
            others.close()
    with http.stream("GET", run["links"]["events"], timeout=SECONDS) as sent:
        lines = [line for line in sent.iter_lines() if line.startswith("event: ")]
    kinds = {line.removeprefix("event: ") for line in lines}
    # The cancellation may come before the plan.
    assert {"state", "mage", "cancel_asked"} <= kinds <= {*declared}


def test_models_are_found_by_name_and_description_the_best_first(http: httpx.Client) -> None:
    def names(search: str, **more: Any) -> list[str]:
        found = http.get("/v1/models", params={"search": search, **more}).json()
        return [one["name"] for one in found["models"]]

    assert names("facts") == ["facts", "facts_view"]
    assert names("FACTS", limit=1) == ["facts"]
    assert names("ten times") == ["numbers"]
    assert names("nubmers") == ["numbers"]
    assert names("no such thing") == []
    assert len(names("")) == 6


def test_a_run_is_cancelled_and_says_by_whom(runner: Runner, http: httpx.Client) -> None:
    text = (runner.repository / "models" / "apart.sql").read_text()
    runner.live(runner.commit("Sleep", apart=sleepy()))
    run = http.post("/v1/runs", json={"select": "apart"}).json()
    runner.running(runner.client.run(run["id"]), "pg_sleep")

    def node() -> dict[str, Any] | str:
        answer = http.get(f"{run['links']['self']}/nodes/apart")
        return answer.json() if answer.is_success else answer.text

    running = wait_until("the node to be told", node)
    assert running["status"] == "running" and "pg_sleep" in running["compiled_sql"]
    assert running["finished_at"] is None
    assert 'mage_dbt_runs_now{state="Running"} 1.0' in http.get("/metrics").text
    answer = http.post(run["links"]["cancel"], json={"by": "Kim"})
    assert answer.status_code == 200 and answer.json()["state"] == "Cancelled"
    assert "API: Kim" in answer.json()["detail"]
    assert runner.at_work("pg_sleep") == []
    told = problem(http.post(run["links"]["cancel"]), 409, "conflict")
    assert "is over" in told["detail"]
    problem(http.post("/v1/runs/20260101-000000-000000/cancel"), 404, "not-found")
    runner.live(runner.commit("Back", apart=text))


def test_only_a_refresh_that_waits_for_a_decision_may_swap(
    runner: Runner, http: httpx.Client, failed: Run
) -> None:
    told = problem(http.post(f"/v1/runs/{failed.id}/swap", json={"by": "Kim"}), 409, "conflict")
    assert "is over" in told["detail"]
    problem(http.post("/v1/runs/20260101-000000-000000/swap"), 404, "not-found")
    problem(http.post(f"/v1/runs/{failed.id}/swap", json={"bye": "Kim"}), 422, "request-error")
    with psycopg.connect(runner.postgres.url("runner")) as other:  # a run of another runner
        other.execute(
            "insert into ledger.run select %(run)s, now(), null, operation, cause, caller, why,"
            " request || '{\"show_first\": true}', commit, commit_subject, target, dbt_version,"
            " null, null, null, 0 from ledger.run where id = %(of)s",
            {"run": ELSEWHERE, "of": failed.id},
        )
        add = "insert into ledger.event (run, at, kind, data) values (%s, now(), %s, %s)"
        other.execute(add, [ELSEWHERE, "state", '{"state": "Running"}'])
        other.commit()
        told = problem(http.post(f"/v1/runs/{ELSEWHERE}/swap"), 409, "conflict")
        assert "does not wait for a decision now" in told["detail"]
        other.execute(add, [ELSEWHERE, "refresh", '{"step": "holds", "text": "Ready."}'])
        other.commit()
        answer = http.post(f"/v1/runs/{ELSEWHERE}/swap", json={"by": "Kim"})
        assert answer.status_code == 200 and answer.json()["refresh"][0]["step"] == "holds"
        assert answer.json()["links"]["swap"].endswith(f"{ELSEWHERE}/swap")
        asked = "select data ->> 'by' from ledger.event where run = %s and kind = 'swap_asked'"
        assert other.execute(asked, [ELSEWHERE]).fetchall() == [("API: Kim",)]
        other.execute(add, [ELSEWHERE, "state", '{"state": "Cancelled"}'])


def test_metrics_tell_of_runs_commits_calls_and_the_ledger(
    runner: Runner, http: httpx.Client, failed: Run
) -> None:
    def probe() -> str | list[str]:
        text = http.get("/metrics").text
        counted = 'mage_dbt_runs_total{cause="tool",operation="build",state="Error"} 1.0'
        itself = 'mage_dbt_http_requests_total{method="GET",route="/metrics",status="200"}'
        return [text] if counted in text and itself in text else text

    [text] = wait_until("the metrics to count the failed run, and a call before", probe)
    live = runner.client.status().to_json()["live"]["sha"]
    for line in (
        f'sha="{live}"',
        "mage_dbt_commit_broken 0.0",
        "mage_dbt_ledger_up 1.0",
        'mage_dbt_runs_now{state="Queued"} 0.0',
        'mage_dbt_run_seconds_bucket{le="5.0",operation="build",state="Error"}',
        "mage_dbt_commit_age_seconds",
        "mage_dbt_morning_success_age_seconds",
    ):
        assert line in text, text
    assert http.get("/no/such/page").status_code == 404
    counted = 'mage_dbt_http_requests_total{method="GET",route="unknown",status="404"}'
    assert counted in http.get("/metrics").text


# --------------------------------------------------------------- refusals


def test_nothing_answers_without_the_token_but_ping(runner: Runner, http: httpx.Client) -> None:
    address = f"http://{HOST}:{runner.settings.runner_port}"
    token = runner.home.api_token.read_text()
    assert httpx.get(f"{address}/ping", trust_env=False, timeout=SECONDS).json() == "pong"
    for path in ("/v1/runs", "/v1/status", "/openapi.json", "/metrics", "/no/such/page"):
        answer = httpx.get(f"{address}{path}", trust_env=False, timeout=SECONDS)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for given in ("Bearer wrong", token, f"Basic {token}", "Bearer", f"Bearer {token}x"):
        wrong = httpx.get(
            f"{address}/v1/runs", headers={"Authorization": given}, trust_env=False, timeout=SECONDS
        )
        problem(wrong, 401, "unauthorized")
    assert http.get("/v1/runs", headers={"Authorization": f"bearer {token}"}).status_code == 200


def test_no_web_page_reaches_it(http: httpx.Client) -> None:
    origin = http.get("/v1/runs", headers={"Origin": "https://example.com"})
    assert "example.com" in problem(origin, 403, "forbidden")["detail"]
    for host in ("rebound.example.com", "127.0.0.1.example.com:4182", "10.0.0.1"):
        problem(http.get("/ping", headers={"Host": host}), 403, "forbidden")
    for host in ("localhost", "localhost:9", "[::1]:4182"):
        assert http.get("/ping", headers={"Host": host}).status_code == 200


def test_addresses_and_methods_that_do_not_exist_are_told(http: httpx.Client) -> None:
    for path in ("/v1/runs/", "/v2/runs", "/docs", "/v1/runs/a/b/c", "/" + "x" * 20_000):
        problem(http.get(path), 404, "not-found")
    for run in ("20260101-000000-000000", "x", "%00", "%F0%9F%99%82", "%ff"):
        problem(http.get(f"/v1/runs/{run}"), 404, "not-found")
    for method, path, allowed in (
        ("DELETE", "/v1/runs", "GET, POST"),
        ("PUT", "/v1/plans", "POST"),
        ("OPTIONS", "/v1/status", "GET"),
    ):
        answer = http.request(method, path)
        problem(answer, 405, "wrong-method")
        assert answer.headers["allow"] == allowed


def test_a_body_that_is_no_json_object_of_ours_is_refused_by_what_is_wrong(
    http: httpx.Client,
) -> None:
    for body, says in (
        (b"", "no body"),
        (b"{", "not JSON"),
        (b"[]", "not an object"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"why": "\xc3("}', "not UTF-8"),
        (b'{"why": "a", "why": "b"}', "given twice"),
        (b'{"variables": {"size": NaN}}', "not JSON"),
        (b'{"variables": {"size": 1e999}}', "too large"),
        (b'{"variables": {"size": ' + b"9" * 5000 + b"}}", "too large"),
        (b'{"variables": {"size": "\\ud800"}}', "no character"),
        (b'{"variables": {"size": ["\\u0000"]}}', "no character"),
        (b'{"variables": {"size": ' + b"[" * 30 + b"]" * 30 + b"}}", "nested deeper"),
        (b'{"variables": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "nested deeper"),
    ):
        answer = http.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
        assert says in problem(answer, 400, "malformed")["detail"], body[:80]
    asked: list[tuple[dict[str, Any], str, str]] = [
        ({"sellect": "facts"}, "request-error", "Did you mean select"),
        ({"operation": "biuld"}, "unknown-operation", "Did you mean build"),
        ({"operation": 7}, "request-error", "operation"),
        ({"select": {"a": 1}}, "request-error", "select"),
        ({"select": "--full-refresh"}, "bad-selection", "not a model name"),
        ({"variables": {"size": 1, "2nd": 2}}, "bad-variable", "begins with a letter"),
        ({"variables": []}, "request-error", "variables"),
        ({"operation": "command", "command": "clean"}, "bad-command", "not allowed"),
        ({"why": "x" * 3000}, "request-error", "2000"),
        ({"operation": "full_refresh"}, "bad-selection", "needs the models"),
        ({"models": []}, "bad-selection", "leave it out to build everything"),
        ({"select": ""}, "bad-selection", "leave it out to build everything"),
    ]
    for data, kind, says in asked:
        for address in ("/v1/runs", "/v1/plans"):
            told = problem(http.post(address, json=data), 422, kind)
            assert says in f"{told['detail']} {told['hint']}", told


def test_bad_headers_are_refused(http: httpx.Client) -> None:
    for key in (b"x" * 201, b"tab\there", "café".encode("latin-1")):
        answer = http.post("/v1/runs", json={}, headers={b"Idempotency-Key": key})
        problem(answer, 400, "malformed")
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    problem(http.post("/v1/runs", json={}, headers=twice), 400, "malformed")
    for given in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"):
        answer = http.post("/v1/runs", content=b"{}", headers={"Content-Type": given})
        problem(answer, 415, "not-json")
    problem(http.post("/v1/runs", content=b"{}"), 415, "not-json")


def test_ten_megabytes_are_refused_before_they_are_read(runner: Runner, http: httpx.Client) -> None:
    large = {"Content-Type": "application/json"}
    problem(http.post("/v1/runs", content=b"x" * 10_000_000, headers=large), 413, "too-large")
    # Declared, and not one byte sent: the answer comes all the same.
    head = "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\n{token}Content-Length: 10000000\r\n\r\n"
    assert " 413 " in raw(runner, head)
    # Not declared: cut off as soon as it is too much.
    chunks = (b"x" * 100_000 for _ in range(100))
    problem(http.post("/v1/runs", content=chunks, headers=large), 413, "too-large")


def test_what_is_no_http_is_refused_and_the_runner_goes_on(
    runner: Runner, http: httpx.Client
) -> None:
    for head in (
        "GET /ping\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: localhost\r\nX: " + "y" * 200_000 + "\r\n\r\n",
        "GET /" + "y" * 200_000 + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        assert " 400 " in raw(runner, head), head[:60]
    assert " 403 " in raw(runner, "GET /ping HTTP/1.0\r\n\r\n")
    assert http.get("/ping").status_code == 200


def test_openapi_is_valid_and_declares_every_status(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()
    asked = document["paths"]["/v1/runs"]["post"]
    assert {
        "200",
        "202",
        "400",
        "401",
        "403",
        "404",
        "409",
        "413",
        "415",
        "422",
        "429",
        "503",
    } <= set(asked["responses"])
    assert (
        not {"cause", "key", "mage_run"}
        & document["components"]["schemas"]["RunRequest"]["properties"].keys()
    )


def test_who_guesses_tokens_is_slowed_down_and_the_right_token_is_not(
    runner: Runner, http: httpx.Client
) -> None:
    address = f"http://{HOST}:{runner.settings.runner_port}/v1/runs"
    allowed = CallLimits(runner.settings.runner_calls_per_minute).wrong_tokens_per_minute
    answers = [
        httpx.get(
            address, headers={"Authorization": f"Bearer {number}"}, trust_env=False, timeout=SECONDS
        )
        for number in range(allowed + 1)
    ]
    told = problem(answers[-1], 429, "too-many-requests")
    assert "without the right token" in told["detail"]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert http.get("/v1/runs").status_code == 200


def put(http: httpx.Client, **wanted: Any) -> Any:
    answer = http.put("/v1/schedule", json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_time_that_has_passed_makes_todays_build_run_late_and_once(
    runner: Runner, http: httpx.Client, built: Run
) -> None:
    zone = ZoneInfo("Asia/Seoul")
    put(http, reset=True)
    # 40 minutes ahead and behind, where that is the same date.
    now = datetime.now(zone)
    soon, ago = now + timedelta(minutes=40), now - timedelta(minutes=40)
    asked = {"cause": "schedule", "caller": "Mage, trigger Every morning"}
    if soon.date() == now.date():
        assert put(http, build_at=f"{soon:%H:%M}")["today"] == "comes"
        with pytest.raises(Conflict, match="is not due before"):
            runner.ask(**asked, mage_run=902)
    if ago.date() == now.date():
        assert put(http, build_at=f"{ago:%H:%M}")["today"] == "late"
        run = runner.ask(**asked, mage_run=903)
        assert run.morning == now.date().isoformat() and 2400 <= run.late_seconds < 2700
        assert put(http, build_at=f"{soon:%H:%M}")["today"] in ("waits", "runs")
        assert runner.ask(**asked, mage_run=904).id == run.id
        became = {RunState.SUCCESS: "built", RunState.ERROR: "failed"}[runner.over(run).state]
        assert put(http, build_at=f"{soon:%H:%M}")["today"] == became
    put(http, reset=True)


def test_a_pause_holds_at_once_and_the_status_promises_no_morning(
    runner: Runner, http: httpx.Client, built: Run
) -> None:
    before = http.get("/v1/status").json()
    assert before["next_morning"] and before["schedule"]["paused"] is False
    paused = put(http, paused=True, why="inventory", by="kim")
    assert paused["next"] == [] and paused["today"] in ("paused", "built")
    assert paused["schedule"]["pause_set"]["by"] == "API: kim"
    status = http.get("/v1/status").json()
    assert status["next_morning"] is None and status["schedule"]["why"] == "inventory"
    until = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    ends = put(http, paused=True, paused_until=until, why="inventory")
    assert len(ends["next"]) == 3 and all(due > until[:10] for due in ends["next"])
    resumed = put(http, paused=False)
    assert resumed["schedule"]["paused"] is False and resumed["changes"][0]["what"] == ["resume"]
    rows = ledger(runner, "select by, why, paused from ledger.schedule order by seq desc limit 3")
    assert rows == [
        ("API", "", False),
        ("API", "inventory", True),
        ("API: kim", "inventory", True),
    ]


def test_a_change_of_the_schedule_is_read_strictly(http: httpx.Client) -> None:
    for body, says in (
        ({}, "Nothing is asked for"),
        *(
            ({"build_at": at}, "`build_at` is a time of day from 00:00 to 23:59, in four digits")
            for at in ("25:00", "24:00", "7:5", "8", "08:00 ", "08:00\n", "")
        ),
        ({"build_at": "08:00", "why": "a\nb"}, "`why` holds a line break"),
        ({"buildat": "08:00"}, "Did you mean build_at"),
        ({"paused": True}, "needs a reason"),
        ({"paused": True, "paused_until": "2020-01-01T00:00", "why": "x"}, "which is over"),
        ({"paused": True, "paused_until": "2999-01-01T00:00", "why": "x"}, "90 days"),
    ):
        found = problem(http.put("/v1/schedule", json=body), 422, "request-error")
        assert says in f"{found['detail']} {found['hint']}", body
    assert http.post("/v1/schedule", json={}).headers["allow"] == "GET, PUT"


def test_a_test_message_goes_to_every_channel_and_names_no_address(
    runner: Runner, http: httpx.Client
) -> None:
    told = problem(http.post("/v1/alerts/test"), 409, "conflict")["detail"]
    assert "nobody is told" in told
    with service() as well, service(status=500) as badly:
        lines = [well.address("secret-1"), badly.address("secret-2"), "no address"]
        runner.home.alert_urls.write_text("\n".join(lines))
        answer = http.post("/v1/alerts/test")
        runner.home.alert_urls.unlink()
    assert answer.json()["channels"] == [
        {"channel": "line 1, JSON", "delivered": True, "problem": ""},
        {"channel": "line 2, JSON", "delivered": False, "problem": "it answered 500"},
        {"channel": "line 3", "delivered": False, "problem": "no address that apprise knows"},
    ]
    assert "secret" not in answer.text and str(well.port) not in answer.text
    assert well.titles() == ["mage-dbt: this channel works"]
    refused = http.post("/v1/alerts/test")
    problem(refused, 429, "too-many-requests")
    assert int(refused.headers["retry-after"]) > 0
    assert set(http.get("/v1/alerts").json()) == {"told", "problems", "sent"}


def test_more_calls_than_the_setting_allows_are_refused_on_tcp_and_not_on_the_socket(
    runner: Runner, http: httpx.Client
) -> None:
    allowed = runner.settings.runner_calls_per_minute
    with ThreadPoolExecutor(8) as pool:  # all within the minute, on a busy machine too
        answers = list(pool.map(lambda _: http.get("/ping"), range(allowed + 1)))
    # Not always the last: what other tests called may leave the window meanwhile.
    refused = next(one for one in answers if not one.is_success)
    problem(refused, 429, "too-many-requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert runner.client.ping() and runner.client.status().to_json()
