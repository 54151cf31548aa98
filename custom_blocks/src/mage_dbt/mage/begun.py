"""Which of Mage's pipeline runs the workspace itself has begun, and how the runner knows it.

A trigger's name says nothing: anybody may call one of their own "Every morning". So Mage, where it
puts a pipeline run's variables together, looks at the pipeline run in its database, and gives the
one that our schedule or our start has begun a ticket: made with a secret that Mage and the runner
hold, for this pipeline run alone. No variable that somebody sets takes its place.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import cache
from typing import Any

from mage_dbt.home import Home
from mage_dbt.mage.door.people import ASKED_BY
from mage_dbt.mage.project import API_TRIGGER, DAILY_PIPELINE, DAILY_TRIGGER
from mage_dbt.request import Cause
from mage_dbt.settings import Settings

CAUSES = (Cause.SCHEDULE, Cause.START)
"""Those that are believed with a ticket only."""

VARIABLE = "begun_by"
"""Holds the cause and the ticket, for the block; empty in every other pipeline run."""

HEADER = "X-Workspace-Ticket"
"""With it the ticket goes to the runner."""


def ticket(secret: str, cause: str, pipeline_run: int | None) -> str:
    """The proof that the workspace has begun Mage's pipeline run of this number."""
    return hmac.new(secret.encode(), f"{cause}:{pipeline_run}".encode(), "sha256").hexdigest()


def is_right(given: str, home: Home, cause: str, pipeline_run: int | None) -> bool:
    """Whether `given` is that ticket."""
    try:
        right = ticket(_secret(home), cause, pipeline_run)
    except FileNotFoundError:  # then there is no Mage here that could have begun anything
        return False
    return hmac.compare_digest(given.encode(), right.encode())


def note(pipeline_run: Any, variables: dict[str, Any]) -> None:
    """Called by Mage with a pipeline run of its database and the variables its blocks will get."""
    cause = _cause(pipeline_run)
    proof = ticket(_secret(_home()), cause, pipeline_run.id) if cause else ""
    variables[VARIABLE] = f"{cause}:{proof}" if cause else ""


def read(variables: Mapping[str, Any]) -> tuple[Cause, str]:
    """The cause of a block's pipeline run and the ticket; without one somebody in Mage asks."""
    cause, _, proof = str(variables.get(VARIABLE) or "").partition(":")
    return (Cause(cause), proof) if cause in CAUSES else (Cause.FORM, "")


def _cause(pipeline_run: Any) -> Cause | None:
    trigger, own = pipeline_run.pipeline_schedule, pipeline_run.variables or {}
    ours = {pipeline_run.pipeline_uuid, trigger.pipeline_uuid} == {DAILY_PIPELINE}
    # Whatever somebody begins on a page of Mage's has this variable, with a name or without.
    if not ours or ASKED_BY in own:
        return None
    if (trigger.name, trigger.schedule_type) == (DAILY_TRIGGER, "time"):
        return Cause.SCHEDULE
    by_us = (trigger.name, trigger.schedule_type) == (API_TRIGGER, "api")
    return Cause.START if by_us and own.get("cause") == Cause.START else None


@cache
def _home() -> Home:
    return Home(Settings.load().workspace_home)


def _secret(home: Home) -> str:
    return home.runner_to_mage_secret.read_text().strip()
