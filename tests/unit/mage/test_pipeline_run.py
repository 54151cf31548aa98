"""The cause and the ticket of a pipeline run: from the rows in Mage, not from names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.home import Home
from mage_dbt.identity.ticket import is_right
from mage_dbt.mage import pipeline_run
from mage_dbt.mage.project import API_TRIGGER, DAILY_PIPELINE, DAILY_TRIGGER
from mage_dbt.model.request import Cause


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    found = Home(tmp_path)
    read_or_make(found.runner_to_mage_secret)
    monkeypatch.setattr(pipeline_run, "_home", lambda: found)
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
    merged = {"trigger_name": name, pipeline_run.CAUSE: "schedule:forged", **variables}
    pipeline_run.add_cause(run, merged)
    return merged


def test_our_schedule_and_our_start_have_a_ticket_for_their_pipeline_run_alone(home: Home) -> None:
    cause, ticket = pipeline_run.cause_and_ticket(given(DAILY_TRIGGER, "time"))
    assert cause is Cause.SCHEDULE and is_right(ticket, home, cause, 7)
    for other in (("schedule", 8), ("start", 7), ("schedule", None)):
        assert not is_right(ticket, home, *other)
    cause, ticket = pipeline_run.cause_and_ticket(given(API_TRIGGER, "api", cause="start"))
    assert cause is Cause.START and is_right(ticket, home, "start", 7)
    for wrong in ("", "schedule", "é", ticket.upper(), f" {ticket}"):
        assert not is_right(wrong, home, "start", 7)


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
        assert variables[pipeline_run.CAUSE] == ""
        assert pipeline_run.cause_and_ticket(variables) == (Cause.FORM, "")
    named = {"trigger_name": DAILY_TRIGGER, "cause": "start"}
    assert pipeline_run.cause_and_ticket(named) == (Cause.FORM, "")


def test_without_the_secret_nobody_is_believed(tmp_path: Path) -> None:
    assert not is_right("", Home(tmp_path), "schedule", 7)
