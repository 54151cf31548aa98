"""Rules for triggers in Mage: names of new ones, what of ours cannot change, when one is used up.

Patches of Mage's API call this module, in Mage's process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, wraps
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from mage_dbt.base.tool_command import tool_command
from mage_dbt.errors import Forbidden
from mage_dbt.mage import own_pipelines, pipeline_run
from mage_dbt.mage.project import API_TRIGGER, DAILY_PIPELINE, DAILY_TRIGGER, PIPELINES, instant
from mage_dbt.mage.trigger_lock import only_change
from mage_dbt.settings import Settings

ONCE = "@once"
"""The schedule interval of a trigger that runs once."""

WRITTEN_BY_US = ("name", "schedule_type", "schedule_interval", "description", "variables")
"""Fields of our triggers that the workspace writes. Mage could not keep another value."""


def one_at_a_time(change: Callable[..., Any]) -> Callable[..., Any]:
    """`change` of triggers, or copy of them, which holds up all others until it is done."""

    @wraps(change)
    def held(*arguments: Any, **options: Any) -> Any:
        from mage_ai.settings.repo import get_repo_path

        with only_change(Path(get_repo_path())):
            return change(*arguments, **options)

    return held


def completed(payload: Mapping[str, Any], user: Any) -> dict[str, Any]:
    """The payload of a new trigger, with a name and with the user's name among the variables.

    The variable keeps its runs from being taken for our schedule's. Raises Forbidden for a name
    that the workspace uses in that pipeline: Mage would take both triggers for one, and save the
    second over the first.
    """
    refuse_our_name(str(payload.get("pipeline_uuid")), payload)
    trigger, now = dict(payload), datetime.now(_zone())
    once = trigger.get("schedule_interval") == ONCE
    if not trigger.get("name"):
        by = f" by {user.email}" if pipeline_run.is_person(user) else ""
        what = f"Run once{by}" if once else f"Trigger{by}"
        trigger["name"] = f"{what}, {now:%d %b %Y %H:%M:%S %Z}"
    return pipeline_run.with_caller(trigger, user)


def refuse_change(trigger: Any, payload: Mapping[str, Any]) -> None:
    """Raises Forbidden for a change of a trigger of ours that the workspace would undo.

    Mage's page sends every field, changed or not, and a start time that nobody chose. A start time
    in the past changes nothing; it is taken out of `payload`. Below the role operator nothing of
    the daily build's trigger is changed.
    """
    if not _is_ours(trigger):
        refuse_our_name(trigger.pipeline_uuid, payload)
        return
    daily = trigger.name == DAILY_TRIGGER
    if daily:
        own_pipelines.refuse()
    start = instant(payload.get("start_time"))
    if isinstance(payload, dict) and start and start <= datetime.now(UTC):
        payload["start_time"], start = trigger.start_time, None
    changed = [
        name
        for name in WRITTEN_BY_US
        if name in payload and (payload[name] or None) != (getattr(trigger, name) or None)
    ]
    if daily and ("schedule_interval" in changed or "schedule_type" in changed or start):
        # What we wrote there: this process cannot read the ledger, and the settings may be old.
        when = str(trigger.description or "").partition(". ")[0]
        raise Forbidden(
            f"Nothing was saved. The time of {DAILY_TRIGGER!r} ({when[:1].lower()}{when[1:]}) is "
            "not changed in Mage.",
            "An operator changes it on the workspace's page Settings, or with "
            f"{tool_command('schedule --at 07:30')}. For another time beside it make a trigger of "
            "your own: New trigger.",
        )
    if changed:
        raise Forbidden(
            f"Nothing was saved. The {changed[0].replace('_', ' ')} of {trigger.name!r} is written "
            "by the workspace.",
            "It can be switched off and on here; for anything else make a trigger of your own.",
        )


def refuse_our_name(pipeline: str, payload: Mapping[str, Any]) -> None:
    """Raises Forbidden when somebody gives a trigger the name of one of ours in that pipeline."""
    if is_our_name(pipeline, payload.get("name")):
        raise Forbidden(
            f"Nothing was saved. {payload['name']!r} is the name of the workspace's own trigger of "
            f"{pipeline}.",
            "Give yours another name.",
        )


def refuse_removal(trigger: Any) -> None:
    """Raises Forbidden for a trigger of ours: the next start would bring it back."""
    if _is_ours(trigger):
        if trigger.name == DAILY_TRIGGER:
            own_pipelines.refuse()
        raise Forbidden(
            f"{trigger.name!r} is the workspace's own trigger and was not deleted.",
            "To stop it, switch it off.",
        )


def not_used_up(trigger: Any) -> Any:
    """The SQL condition on Mage's table of triggers that is false for a used run-once trigger.

    The row stays in the database, because the pages of its runs need it.
    """
    from mage_ai.orchestration.db.models.schedules import PipelineRun

    status = PipelineRun.PipelineRunStatus
    runs = PipelineRun.query.filter(PipelineRun.pipeline_schedule_id == trigger.id)
    begun = runs.exists()
    running = runs.filter(PipelineRun.status.in_([status.INITIAL, status.RUNNING])).exists()
    # An API trigger's interval is NULL, and SQL's comparison with NULL is neither true nor false.
    return (
        trigger.schedule_interval.is_(None) | (trigger.schedule_interval != ONCE) | ~begun | running
    )


def _is_ours(trigger: Any) -> bool:
    return is_our_name(trigger.pipeline_uuid, trigger.name)


def is_our_name(pipeline: str, name: object) -> bool:
    """Whether the trigger of that name in that pipeline is the workspace's own."""
    daily = (pipeline, name) == (DAILY_PIPELINE, DAILY_TRIGGER)
    return daily or (pipeline in PIPELINES and name == API_TRIGGER)


@cache
def _settings() -> Settings:
    return Settings.load()


def _zone() -> ZoneInfo:
    return ZoneInfo(_settings().daily_build_timezone)
