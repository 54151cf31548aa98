"""The parts of the HTTP API that need no runner: reading bodies, problems, filters, search."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.errors import (
    KeyReused,
    Malformed,
    NotFound,
    RequestError,
    TooManyRequests,
    Unavailable,
    WorkspaceError,
)
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.event_feed import EventFeed
from mage_dbt.ledger.listing import RunFilter
from mage_dbt.ledger.run_node import RunNode, choose
from mage_dbt.model import problems
from mage_dbt.model.commit import Model
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState, new_run_id
from mage_dbt.runner.idempotency import require_same
from mage_dbt.runner.service import Runner
from mage_dbt.server import schemas, strict_route
from mage_dbt.server.app import make_app
from mage_dbt.server.authentication import CallLimits, is_local
from mage_dbt.server.events import resume_after
from mage_dbt.server.models import search
from mage_dbt.server.nodes import LONGEST_SQL, compiled_sql
from mage_dbt.settings import Settings
from tests.harness.ports import free_ports
from tests.harness.waiting import SECONDS
from tests.unit.openapi import openapi_document

NOW = "2026-11-23T08:00:00+00:00"


def run_of(request: dict[str, Any]) -> Run:
    """A run as the ledger gives it, of that request after a stay in PostgreSQL."""
    return Run.from_json(
        {
            **{"id": "20261123-080000-4f2a9c", "operation": "build", "state": "Queued"},
            **{"detail": "", "asked_at": NOW, "started_at": None, "finished_at": None},
            "request": json.loads(json.dumps(Request.parse(request).to_json())),
            **{"commit": "3f2c1ab", "commit_subject": "", "target": "prod", "dbt_version": "1"},
            **{"cause": "api", "caller": "API", "why": "", "mage_run": None, "follows": None},
            **{"morning": None, "late_seconds": 0},
        }
    )


@pytest.mark.parametrize("error", problems.known(), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_from_the_wire_as_itself(error: type[WorkspaceError]) -> None:
    first = error("What is wrong.", "What to do.")
    second = problems.read(json.loads(json.dumps(problems.problem(first))), first.status, "")
    assert type(second) is error
    assert (second.message, second.hint) == (first.message, first.hint)


def test_an_answer_that_is_no_problem_of_ours_is_told_as_it_is() -> None:
    answers: list[Any] = [None, [], {}, {"type": "about:blank"}, "text"]
    for told in answers:
        assert "502: <html>" in str(problems.read(told, 502, "<html>"))
    unknown = problems.read({"type": "urn:mage-dbt:new", "detail": "x", "hint": "y"}, 400, "")
    assert type(unknown) is WorkspaceError and str(unknown) == "x y"


def test_what_may_be_asked_again_says_when() -> None:
    for kind in problems.known():
        expected = issubclass(kind, Unavailable | TooManyRequests)
        assert ("Retry-After" in problems.headers(kind("x"))) == expected
    assert problems.headers(TooManyRequests("x"), 7)["Retry-After"] == "7"


@pytest.mark.parametrize("name", schemas.RUN_REQUESTS)
def test_every_example_of_a_request_is_one(name: str) -> None:
    value = schemas.RUN_REQUESTS[name]["value"]
    Request.parse(value)


def test_every_example_of_a_cancellation_is_one() -> None:
    for example in schemas.CANCELLATIONS.values():
        schemas.Decision.model_validate(example["value"])


def test_a_body_keeps_what_it_holds() -> None:
    data = {"variables": {"a": [1, 2.5, None, True, {"b": "é 🙂"}]}, "why": "\u2028"}
    assert strict_route.parse(json.dumps(data).encode()) == data
    assert strict_route.parse(json.dumps(data, ensure_ascii=False).encode()) == data


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": Infinity}',
        b'{"a": -1e999}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"\\u0000": 1}',
        b'{"a": "\\udc00\\ud800"}',
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"[" * 20 + b"]" * 20 + b"}",
        b"nul",
        b"\x00",
        b'{"a": 1} {"b": 2}',
        "{}".encode("utf-16"),
    ],
    ids=range(12),
)
def test_a_body_two_programs_could_read_differently_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        strict_route.parse(body)


def test_the_socket_is_told_by_our_own_end_of_the_connection() -> None:
    assert is_local({"server": ("/home/runner.sock", None), "client": None})
    assert not is_local({"server": ("127.0.0.1", 4182), "client": None})
    assert not is_local({"server": None, "client": None})
    assert not is_local({"server": ("localhost", None), "client": ("127.0.0.1", 50000)})


def test_calls_are_limited_for_each_caller_and_wrong_tokens_apart() -> None:
    limits = CallLimits(3)
    assert [limits.call("a") for _ in range(3)] == [0, 0, 0]
    assert 1 <= limits.call("a") <= 60
    assert limits.call("b") == 0
    assert limits.wrong_token("a") == 0 and limits.wrong_token("a") > 0
    assert CallLimits(600).wrong_tokens_per_minute == 20


def test_the_same_request_has_the_same_key_however_the_ledger_writes_it() -> None:
    asked = {"select": "a b", "variables": {"x": 1e3, "y": [True, None, 1.5]}, "why": "w"}
    kept = {"select": ["a", "b"], "variables": {"y": [True, None, 1.5], "x": 1000}, "why": "w"}
    require_same(run_of(kept), Request.parse({**asked, "caller": "another", "cause": "form"}))
    for name, value in (("variables", {"x": 1000, "y": [1, None, 1.5]}), ("select", "b a")):
        with pytest.raises(KeyReused, match=f"20261123-080000-4f2a9c.*`{name}` was") as refused:
            require_same(run_of(kept), Request.parse({**asked, name: value}))
        assert refused.value.run == "20261123-080000-4f2a9c"


def test_filters_are_read_and_refused_by_name() -> None:
    read = RunFilter.parse({"state": "Error", "since": "2026-11-23T08:00:00z", "node": None})
    assert set(read.given()) == {"state", "since"} and "state = " in read.sql()
    for wrong in (
        *({"state": "error "}, {"cause": ""}, {"mage_run": 0}, {"mage_run": True}, {"limit": "1"}),
        *({"since": "2026-11-23"}, {"until": "2026-11-23T24:30:00Z"}, {"commit": "xyz1"}),
        *({"caller": "a\x00"}, {"node": "x" * 501}, {"before": "' or 1=1"}, {"follows": 7}),
    ):
        with pytest.raises(RequestError):
            RunFilter.parse(wrong)


def test_a_run_in_a_list_keeps_its_counts() -> None:
    light = {**run_of({}).summary(), "counts": {"success": 2, "error": 1}, "planned_nodes": 4}
    run = Run.from_json(light)
    assert run.counts() == {"success": 2, "error": 1} and run.planned_nodes == 4
    assert run.nodes == () and run.state is RunState.QUEUED
    assert run.summary() == light


def test_search_puts_the_best_match_first() -> None:
    models = [
        Model(name, name, "model", "view", "", text)
        for name, text in (
            ("stg_orders", "raw orders"),
            ("fct_orders", "one row an order"),
            ("orders", ""),
            ("fct_order_items", "lines of orders"),
            ("dim_customers", "who orders"),
        )
    ]

    def names(text: str) -> list[str]:
        return [one.name for one in search(models, text)]

    assert names("orders") == [
        "orders",
        "fct_orders",
        "stg_orders",
        "dim_customers",
        "fct_order_items",
    ]
    assert names("fct order")[0] == "fct_order_items"
    assert names("dim_custmers") == ["dim_customers"]
    assert names("ZZZ") == [] and len(names(" ")) == 5


def test_a_node_is_named_by_id_or_by_a_name_that_only_one_has() -> None:
    planned = [
        {"node": {"node": "model.a.x", "name": "x", "type": "model"}},
        {"node": {"node": "test.a.x", "name": "x", "type": "test"}},
        {"node": {"node": "model.a.y", "name": "y", "type": "model"}},
    ]
    assert choose("r", "y", planned, []).node == "model.a.y"
    assert choose("r", "test.a.x", planned, []).status == "waiting"
    with pytest.raises(RequestError, match=r"several nodes.*model\.a\.x, test\.a\.x"):
        choose("r", "x", planned, [])
    with pytest.raises(NotFound):
        choose("r", "z", planned, [])


def test_compiled_sql_shows_no_secret_no_other_file_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_ENV_SECRET_X", "hunter2")
    folder = tmp_path / new_run_id.__name__
    folder.mkdir()
    (tmp_path / "other").write_text("elsewhere")
    (folder / "a.sql").write_text("select 'hunter2'")
    (folder / "b.sql").write_text("x" * (LONGEST_SQL - 3) + "hunter2" + "y" * 20_000)

    def node(compiled: str, type: str = "model") -> RunNode:
        return RunNode("n", "n", type, None, None, compiled=compiled)

    assert compiled_sql(folder, node("a.sql")) == ("select '*****'", "")
    long, note = compiled_sql(folder, node("b.sql"))
    assert long is not None and long.endswith("x***") and "Cut" in note
    assert compiled_sql(folder, node("../other"))[0] is None
    assert "gone" in compiled_sql(tmp_path / "gone", node("a.sql"))[1]
    assert "seed" in compiled_sql(folder, node("", "seed"))[1]


def test_an_event_stream_goes_on_after_what_was_seen() -> None:
    assert resume_after(None, 5) == 5 and resume_after("7", 5) == 7
    for wrong in ("x", "-1", "1" * 30, "٣"):
        with pytest.raises(Malformed):
            resume_after(wrong, 0)


def test_without_postgresql_calls_say_when_to_come_again_and_metrics_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mage_dbt.ledger.ledger.CONNECT_SECONDS", 0.5)
    monkeypatch.setattr("mage_dbt.server.metrics.LEDGER_SECONDS", 0.5)
    [port] = free_ports(1)
    ledger = Ledger(f"postgresql://runner@127.0.0.1:{port}/workspace")
    settings = Settings.load({"WORKSPACE_HOME": str(tmp_path)}, tmp_path / "no.env")
    home = Home(tmp_path)
    ledger.open()
    read_or_make(home.api_token)
    feed = EventFeed(ledger.database_url)
    app = make_app(Runner(settings, home, ledger), ledger, feed, settings, home, "token")

    async def call() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app),
            base_url="http://127.0.0.1:4182",
            headers={"Authorization": "Bearer token"},
            timeout=SECONDS,
        ) as http:
            for path in ("/v1/runs", "/v1/runs/20261123-080000-4f2a9c"):
                answer = await http.get(path)
                assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
                assert answer.json()["type"] == "urn:mage-dbt:ledger-unreachable"
            asked = await http.post("/v1/runs", json={})
            assert asked.json()["type"] == "urn:mage-dbt:no-commit-ready"
            assert asked.status_code == 503 and asked.headers["retry-after"] == "10"
            assert (await http.get("/v1/status")).json()["ledger_error"]
            text = (await http.get("/metrics")).text
            assert "mage_dbt_ledger_up 0.0" in text and "mage_dbt_commit_broken 0.0" in text
            answered = 'method="POST",route="/v1/runs",status="503"} 1.0'
            assert f"mage_dbt_http_requests_total{{{answered}" in text

    try:
        asyncio.run(call())
    finally:
        ledger.close()


def test_the_document_shows_examples_and_asks_for_the_token() -> None:
    document = openapi_document()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["security"] == ([] if path == "/ping" else [{"token": []}])
            assert {"400", "403", "413", "429"} <= set(operation["responses"])
            if "requestBody" in operation:
                assert operation["requestBody"]["content"]["application/json"]["examples"]
