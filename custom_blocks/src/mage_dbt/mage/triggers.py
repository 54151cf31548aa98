"""The triggers in Mage: what one is called that nobody named, what of ours stays as it is, and when
one is used up. The patches of Mage's API call this, in Mage's process.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from mage_dbt.errors import Forbidden
from mage_dbt.mage.door import people
from mage_dbt.mage.project import (
    API_TRIGGER,
    DAILY_PIPELINE,
    DAILY_TRIGGER,
    PIPELINES,
    instant,
)
from mage_dbt.settings import Settings

ONCE = "@once"
"""Mage's interval of a trigger that runs once."""

SOMEBODY = "somebody in Mage"
"""Who began a run where nobody signs in."""

RETRIED_BY = "retried_by"
"""The variable that tells a block who has clicked on "Retry incomplete blocks"."""

ITS_OWN = ("name", "schedule_type", "schedule_interval", "description", "variables")
"""Of a trigger of ours: what the workspace writes, so that Mage could not keep another value."""


def made(payload: Mapping[str, Any], user: Any) -> dict[str, Any]:
    """What somebody asks Mage to make a trigger of: with a name, and with theirs among the
    variables, so that none of its runs is taken for our schedule's.

    Raises Forbidden for a name that the workspace uses in that pipeline: Mage takes triggers of one
    name for one, and what somebody saves of the second becomes the first's.
    """
    refuse_our_name(str(payload.get("pipeline_uuid")), payload)
    made, now = dict(payload), datetime.now(_zone())
    once = made.get("schedule_interval") == ONCE
    if not made.get("name"):
        by = f" by {user.email}" if _is_person(user) else ""
        what = f"Run once{by}" if once else f"Trigger{by}"
        made["name"] = f"{what}, {now:%d %b %Y %H:%M:%S %Z}"
    return people.by_hand(made, user)


def retried(variables: Mapping[str, Any] | None, user: Any) -> dict[str, Any]:
    """A pipeline run's variables when somebody retries it; who began it stays among them."""
    return {**(variables or {}), RETRIED_BY: user.email if _is_person(user) else SOMEBODY}


def refuse_change(trigger: Any, payload: Mapping[str, Any]) -> None:
    """Raises Forbidden for a change of a trigger of ours that the workspace would undo.

    Mage's page sends every field, changed or not. It fills in a start that nobody chose: one that
    is past changes nothing, and is taken out of `payload`.
    """
    if not _is_ours(trigger):
        refuse_our_name(trigger.pipeline_uuid, payload)
        return
    daily = trigger.name == DAILY_TRIGGER
    start = instant(payload.get("start_time"))
    if isinstance(payload, dict) and start and start <= datetime.now(UTC):
        payload["start_time"], start = trigger.start_time, None
    there = {name: getattr(trigger, name) for name in ITS_OWN}
    asked = [
        name
        for name in ITS_OWN
        if name in payload and (payload[name] or None) != (there[name] or None)
    ]
    if daily and ("schedule_interval" in asked or "schedule_type" in asked or start):
        settings = _settings()
        raise Forbidden(
            f"Nothing was saved. {DAILY_TRIGGER!r} runs at {settings.daily_build_at:%H:%M} "
            f"{settings.daily_build_timezone}, by the settings DAILY_BUILD_AT and "
            "DAILY_BUILD_TIMEZONE of the workspace, and Mage cannot change them.",
            "Change them in workspace.env and start the workspace again, or ask who runs it. For "
            "another time beside it make a trigger of your own: New trigger.",
        )
    if asked:
        raise Forbidden(
            f"Nothing was saved. The {asked[0].replace('_', ' ')} of {trigger.name!r} is written "
            "by the workspace.",
            "It can be switched off and on here; for anything else make a trigger of your own.",
        )


def refuse_our_name(pipeline: str, payload: Mapping[str, Any]) -> None:
    """Raises Forbidden when a trigger of somebody's would be called like one of ours there."""
    if is_our_name(pipeline, payload.get("name")):
        raise Forbidden(
            f"Nothing was saved. {payload['name']!r} is the name of the workspace's own trigger of "
            f"{pipeline}.",
            "Give yours another name.",
        )


def refuse_removal(trigger: Any) -> None:
    """Raises Forbidden for a trigger of ours, which the next start would bring back."""
    if _is_ours(trigger):
        raise Forbidden(
            f"{trigger.name!r} is the workspace's own trigger and was not deleted.",
            "To stop it, switch it off.",
        )


def not_used_up(trigger: Any) -> Any:
    """The condition, of Mage's table of triggers, that leaves out those that run once and have done
    so. They stay in the database, where their runs' pages need them."""
    from mage_ai.orchestration.db.models.schedules import PipelineRun

    status = PipelineRun.PipelineRunStatus
    runs = PipelineRun.query.filter(PipelineRun.pipeline_schedule_id == trigger.id)
    begun = runs.exists()
    going_on = runs.filter(PipelineRun.status.in_([status.INITIAL, status.RUNNING])).exists()
    # An API trigger has no interval: NULL, of which SQL says neither yes nor no.
    return (
        trigger.schedule_interval.is_(None)
        | (trigger.schedule_interval != ONCE)
        | ~begun
        | going_on
    )


def _is_person(user: Any) -> bool:
    return user is not None and user.email != people.RUNNER.name


def _is_ours(trigger: Any) -> bool:
    return is_our_name(trigger.pipeline_uuid, trigger.name)


def is_our_name(pipeline: str, name: object) -> bool:
    """Whether a trigger of that name in that pipeline is the workspace's own."""
    daily = (pipeline, name) == (DAILY_PIPELINE, DAILY_TRIGGER)
    return daily or (pipeline in PIPELINES and name == API_TRIGGER)


@cache
def _settings() -> Settings:
    return Settings.load()


def _zone() -> ZoneInfo:
    return ZoneInfo(_settings().daily_build_timezone)
