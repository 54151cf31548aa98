"""Who or what began, retried or cancelled a pipeline run of Mage's, in the run's variables.

A trigger's name proves nothing: anybody may call one of their own "Every morning". So Mage, where
it puts a pipeline run's variables together, calls `add_cause`. That looks at the pipeline run in
Mage's database. When our schedule or our start began it, its variables get a ticket: made with a
secret that Mage and the runner share, valid for this pipeline run alone. A variable that somebody
sets is overwritten. Patches make Mage call this module, in Mage's process.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from mage_dbt.home import Home
from mage_dbt.identity.person import RUNNER
from mage_dbt.identity.ticket import CAUSES, secret, ticket
from mage_dbt.mage.project import API_TRIGGER, DAILY_PIPELINE, DAILY_TRIGGER
from mage_dbt.model.request import Cause
from mage_dbt.settings import Settings

SOMEBODY = "somebody in Mage"
"""The caller of a run where nobody signs in."""

CAUSE = "begun_by"
"""The variable with cause and ticket, `schedule:4f2a…`; empty when somebody began the run."""

ASKED_BY = "asked_by"
"""The variable with the name of the person who began the run on a page of Mage's."""

RETRIED_BY = "retried_by"
"""The variable with the name of the person who clicked "Retry incomplete blocks"."""

CANCELLED_BY = "cancelled_by"
"""The variable with the name of the person who cancelled the run; the runner reads it."""


def add_cause(pipeline_run: Any, variables: dict[str, Any]) -> None:
    """Writes cause and ticket of Mage's `pipeline_run` into the variables that its blocks get."""
    cause = _cause(pipeline_run)
    proof = ticket(secret(_home()), cause, pipeline_run.id) if cause else ""
    variables[CAUSE] = f"{cause}:{proof}" if cause else ""


def cause_and_ticket(variables: Mapping[str, Any]) -> tuple[Cause, str]:
    """The cause of a block's pipeline run and its ticket; FORM and no ticket without one."""
    cause, _, proof = str(variables.get(CAUSE) or "").partition(":")
    return (Cause(cause), proof) if cause in CAUSES else (Cause.FORM, "")


def is_person(user: Any) -> bool:
    """Whether Mage's user is somebody who is signed in: not the runner, and not nobody."""
    return user is not None and user.email != RUNNER.name


def with_caller(payload: dict[str, Any], user: Any) -> dict[str, Any]:
    """What somebody asks Mage to run on a page of Mage's, with the person's name as a variable.

    The name is a claim, like everything a block sends. Without a login it is empty, and its
    presence still says that no schedule of ours began the run.
    """
    variables = {ASKED_BY: "", **(payload.get("variables") or {})}
    return payload | {"variables": variables | ({ASKED_BY: user.email} if is_person(user) else {})}


def with_retrier(variables: Mapping[str, Any] | None, user: Any) -> dict[str, Any]:
    """A pipeline run's variables when somebody retries it; who began it stays among them."""
    return {**(variables or {}), RETRIED_BY: user.email if is_person(user) else SOMEBODY}


def record_canceller(pipeline_run: Any, user: Any) -> None:
    """Writes into a pipeline run who cancels it. The runner reads that and ends its own run."""
    if is_person(user):
        pipeline_run.update(variables={**(pipeline_run.variables or {}), CANCELLED_BY: user.email})


def _cause(pipeline_run: Any) -> Cause | None:
    trigger, own = pipeline_run.pipeline_schedule, pipeline_run.variables or {}
    is_daily = {pipeline_run.pipeline_uuid, trigger.pipeline_uuid} == {DAILY_PIPELINE}
    # Every run that somebody begins on a page of Mage's has the variable, perhaps an empty one.
    if not is_daily or ASKED_BY in own:
        return None
    if (trigger.name, trigger.schedule_type) == (DAILY_TRIGGER, "time"):
        return Cause.SCHEDULE
    by_us = (trigger.name, trigger.schedule_type) == (API_TRIGGER, "api")
    return Cause.START if by_us and own.get("cause") == Cause.START else None


@cache
def _home() -> Home:
    return Home(Settings.load().workspace_home)
