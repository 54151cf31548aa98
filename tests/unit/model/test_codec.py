"""Values survive JSON, and the ledger's old rows are read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.errors import BadCommand, UnknownOperation
from mage_dbt.model.alert import AlertStatus
from mage_dbt.model.parse_warnings import ParseWarning, ParseWarnings
from mage_dbt.model.plan import Differs, Plan, PlannedNode
from mage_dbt.model.refresh import ColumnChange, Kept
from mage_dbt.model.request import Cause, Operation, Request
from mage_dbt.model.run import FINAL, Event, EventKind, NodeResult, Run, RunState
from mage_dbt.model.status import (
    ActiveRun,
    BrokenCommit,
    LastBrokenCommit,
    LiveCommit,
    Status,
)
from mage_dbt.model.survey import ColumnsChanged, Survey
from mage_dbt.server import schemas

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)

RUN = Run(
    id="20261123-080000-4f2a9c",
    operation=Operation.BUILD,
    state=RunState.ERROR,
    detail="1 of 2 nodes did not pass: b.",
    asked_at=NOW,
    started_at=NOW,
    finished_at=NOW,
    request=Request.parse({"models": ["a", "b"], "variables": {"day": date(2026, 1, 2)}}),
    commit="3f2c1ab",
    commit_subject="Add refunds",
    target="prod",
    dbt_version="1.11",
    cause=Cause.API,
    caller="API: Kim",
    why="late data",
    mage_run=7,
    follows=None,
    morning=None,
    late_seconds=0,
    planned=("a", "b"),
    parse_warnings=ParseWarnings((ParseWarning("x", new=True),), 1, "9a8b7c6"),
    nodes=(
        NodeResult("model.m.a", "a", "model", "success", 1.5, 3),
        NodeResult("model.m.b", "b", "model", "error", message="division by zero"),
    ),
    planned_nodes=2,
)

PLAN = Plan(
    commit="3f2c1ab",
    nodes=(
        PlannedNode("model.m.a", "a", "model", "table", '"w"."a"', ("w.a",), estimated_seconds=2.0),
    ),
    command="build",
    flags=("--full-refresh",),
    variables={"day": date(2026, 1, 2), "x": 1.5},
    target="prod",
    differs=Differs("9a8b7c6", 2, ("a",)),
)


STATUS = Status(
    live=LiveCommit(
        *("3f2c1ab", "Add refunds", "Kim", "2026-11-23T08:00:00+09:00", 2, "2 models", "1.11"),
        *("postgres", "prod", ("a note",), RUN.parse_warnings, None),
    ),
    published="3f2c1ab",
    preparing=None,
    broken=BrokenCommit("9a8b7c6", "", "Kim", "no", "repair it", 1.5, False),
    last_broken=LastBrokenCommit("9a8b7c6", "", "Kim", "no", NOW),
    sync={"error": ""},
    next_morning=NOW.astimezone(ZoneInfo("Asia/Seoul")),
    active_runs=(ActiveRun("a"), ActiveRun("b", "build", RunState.QUEUED, NOW, "", "Kim")),
    ledger_error="",
    processes=({"name": "mage", "state": "up"},),
    alerts=AlertStatus(("Slack",)),
    survey=Survey(
        "3f2c1ab",
        NOW,
        (ColumnsChanged("m.a", "a", "w.a", "ignore", (ColumnChange("b", "", "text"),)),),
        (Kept("r", "m.a", "w.a", "mage_dbt_old_r", "table", NOW, NOW, 5),),
    ),
)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_values_are_the_same_after_json() -> None:
    assert Run.from_json(through_json(RUN.to_json())) == RUN
    assert Plan.from_json(through_json(PLAN.to_json())) == PLAN
    assert through_json(Plan.from_json(through_json(PLAN.to_json())).to_json()) == PLAN.to_json()
    assert Status.from_json(through_json(STATUS.to_json())) == STATUS
    assert STATUS.to_json()["active_runs"][0] == {"run": "a"}
    survey = STATUS.to_json()["survey"]
    assert survey["kept_bytes"] == 5 and survey["changed"][0]["command"].endswith("--model a")
    assert STATUS.to_json()["next_morning"] == "2026-11-23T17:00:00+09:00"
    event = Event(5, NOW, EventKind.STATE, {"state": "Error"})
    assert Event.from_json(through_json(event.to_json())) == event
    assert RUN.to_json()["asked_at"] == event.to_json()["at"] == "2026-11-23T08:00:00+00:00"


def test_a_row_of_another_version_is_read() -> None:
    row = through_json(RUN.to_json())
    del row["request"]["models"], row["request"]["keep_views"]  # a field that came later
    row["request"] |= {"threads": 4, "operation": "draft", "cause": "bot"}  # ... that went, or came
    row |= {"operation": "draft", "cause": "bot", "state": "Paused", "branch": "x"}
    row["nodes"][0] |= {"status": "reused", "attempts": 2}
    run = Run.from_json(row)
    assert (run.operation, run.cause, run.state) == ("draft", "bot", "Paused")
    assert not run.state.final and run.nodes[0].status == "reused" and not run.is_full_build
    assert run.request.models == () and run.title.startswith("draft")
    written = through_json(run.to_json())
    assert written["request"]["operation"] == "draft" and written["state"] == "Paused"
    with pytest.raises(UnknownOperation, match="draft"):
        run.request.dbt_command()


def test_a_command_that_was_allowed_once_is_read_and_not_run() -> None:
    kept = Request.parse({"operation": "command", "command": "test"}).to_json()
    request = Request.from_json(kept | {"command": "clean"})
    assert request.command == "clean"
    with pytest.raises(BadCommand, match="clean"):
        request.dbt_command()


def test_the_same_work_is_asked_for_whoever_asks_and_why() -> None:
    one = Request.parse({"select": "a", "caller": "x", "why": "late", "key": "k"})
    other = Request.parse({"select": ["a"], "cause": "form", "wait_for_commit": True})
    assert one.same_work(other) and not one.same_work(replace(other, select=("b",)))


@pytest.mark.parametrize("state", RunState)
def test_an_event_is_the_last_when_its_state_is_final(state: RunState) -> None:
    event = Event.from_json({"seq": 1, "at": NOW, "kind": "state", "data": {"state": str(state)}})
    assert event.last == state.final == (state in FINAL)


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_of_event_is_read_as_a_member(kind: EventKind) -> None:
    event = Event.from_json({"seq": 1, "at": NOW, "kind": str(kind), "data": {"state": "Queued"}})
    assert event.kind is kind and not event.last


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (schemas.Run, RUN.to_json() | {"links": {}}),
        (schemas.RunRow, RUN.summary() | {"links": {}}),
        (schemas.NodeResult, RUN.nodes[0].to_json()),
        (schemas.Plan, PLAN.to_json()),
        (schemas.PlannedNode, PLAN.nodes[0].to_json()),
        (schemas.Differs, PLAN.to_json()["differs"]),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
def test_an_answer_has_every_field_of_its_schema(
    schema: type[schemas.Answer], answer: dict[str, Any]
) -> None:
    assert set(schema.model_fields) <= answer.keys()
