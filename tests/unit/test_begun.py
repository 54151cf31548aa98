"""Whom the workspace has begun a pipeline run for: told from Mage's records, not from names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mage_dbt.home import Home
from mage_dbt.mage import begun
from mage_dbt.mage.project import API_TRIGGER, DAILY_PIPELINE, DAILY_TRIGGER
from mage_dbt.request import Cause
from mage_dbt.workspace.secret_files import read_or_make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    found = Home(tmp_path)
    read_or_make(found.runner_to_mage_secret)
    monkeypatch.setattr(begun, "_home", lambda: found)
    return found


def given(
    name: str,
    kind: str,
    pipeline: str = DAILY_PIPELINE,
    triggers: str | None = None,
    **variables: Any,
) -> dict[str, Any]:
    """What the block of Mage's pipeline run 7 is given."""
    trigger = SimpleNamespace(name=name, schedule_type=kind, pipeline_uuid=triggers or pipeline)
    run = SimpleNamespace(
        id=7, pipeline_uuid=pipeline, pipeline_schedule=trigger, variables=variables
    )
    merged = {"trigger_name": name, begun.VARIABLE: "schedule:forged", **variables}
    begun.note(run, merged)
    return merged


def test_our_schedule_and_our_start_have_a_ticket_for_their_pipeline_run_alone(home: Home) -> None:
    cause, ticket = begun.read(given(DAILY_TRIGGER, "time"))
    assert cause is Cause.SCHEDULE and begun.is_right(ticket, home, cause, 7)
    for other in (("schedule", 8), ("start", 7), ("schedule", None)):
        assert not begun.is_right(ticket, home, *other)
    cause, ticket = begun.read(given(API_TRIGGER, "api", cause="start"))
    assert cause is Cause.START and begun.is_right(ticket, home, "start", 7)
    for wrong in ("", "schedule", "é", ticket.upper(), f" {ticket}"):
        assert not begun.is_right(wrong, home, "start", 7)


def test_whoever_uses_their_names_has_none(home: Home) -> None:
    for variables in (
        given(DAILY_TRIGGER, "time", pipeline="mine"),
        given(DAILY_TRIGGER, "time", triggers="mine"),
        given(DAILY_TRIGGER, "api"),
        given(DAILY_TRIGGER, "time", asked_by="ana@example.com"),  # somebody clicked Run@once
        given(DAILY_TRIGGER, "time", asked_by=""),  # the same without a login
        given(API_TRIGGER, "api"),
        given(API_TRIGGER, "time", cause="start"),
        given(API_TRIGGER, "api", pipeline="mine", cause="start"),
        given("another", "time", cause="schedule"),
    ):
        assert variables[begun.VARIABLE] == ""
        assert begun.read(variables) == (Cause.FORM, "")
    assert begun.read({"trigger_name": DAILY_TRIGGER, "cause": "start"}) == (Cause.FORM, "")


def test_without_the_secret_nobody_is_believed(tmp_path: Path) -> None:
    assert not begun.is_right("", Home(tmp_path), "schedule", 7)
