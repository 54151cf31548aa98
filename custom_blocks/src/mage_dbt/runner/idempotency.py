"""Idempotency keys: the same key is the same run, so it must ask for the same thing.

A daily build has the key of its date, which the runner gives; any other run has its caller's key,
or none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from mage_dbt.base.tool_command import tool_command
from mage_dbt.errors import Conflict, KeyReused, RequestError
from mage_dbt.ledger import Ledger
from mage_dbt.model import variables
from mage_dbt.model.daily_build import DAILY_KEY_PREFIX, Decision, Timing
from mage_dbt.model.request import Cause, Request
from mage_dbt.model.run import Run
from mage_dbt.model.schedule import Schedule
from mage_dbt.runner.schedule import DailySchedule

LONGEST_VALUE = 200
"""Characters of a value that a message shows."""


@dataclass(frozen=True)
class RunKey:
    """A new run's key, and the date whose daily build it is; or the run that has the key."""

    key: str | None = None
    build_date: date | None = None
    late_seconds: int = 0
    run: Run | None = None

    @classmethod
    def of_daily_build(cls, decision: Decision) -> RunKey:
        return cls(decision.key, decision.day, round(decision.late_by.total_seconds()))


class IdempotencyKeys:
    """Finds a request's key; for the schedule and a start it is the key of the daily build."""

    def __init__(self, ledger: Ledger, schedule: DailySchedule) -> None:
        self._ledger = ledger
        self._schedule = schedule

    def of(self, request: Request) -> RunKey:
        """The key that the request's run will have, or the run that has it already.

        Raises KeyReused when that run asked for something else, RequestError for a key that only
        the runner gives, or Conflict for a schedule that fires when no daily build is due or while
        it is paused.
        """
        if request.key and request.key.startswith(DAILY_KEY_PREFIX):
            raise RequestError(
                f"The key {request.key!r} is a daily build's: keys that begin {DAILY_KEY_PREFIX!r} "
                "are the runner's own.",
                "Take another key.",
            )
        known = self._ledger.run_with_key(request.key) if request.key else None
        if known is not None:
            require_same(known, request)
            return RunKey(run=known)
        if not request.selects_everything:
            return RunKey(request.key)  # no daily build, whoever asks
        if request.cause is Cause.SCHEDULE:
            return self._of_schedule(request)
        if request.cause is Cause.START:
            return self._of_start(request)
        return RunKey(request.key)

    def _of_schedule(self, request: Request) -> RunKey:
        if request.mage_run is not None:
            for run in self._ledger.runs(mage_run=request.mage_run):
                if run.morning:  # executed again, perhaps after midnight: still that build
                    return RunKey(run=run)
        now = datetime.now(UTC)
        schedule = self._schedule.current(now)
        decision = schedule.decide(now, self._schedule.taken)
        if decision.builds:
            return RunKey.of_daily_build(decision)
        built = self._ledger.run_with_key(decision.key)
        if built is not None:
            return RunKey(run=built)
        raise _not_due(schedule, decision, now)

    def _of_start(self, request: Request) -> RunKey:
        """A start's build is the daily build when that was missed, or joins it while it goes on."""
        if not self._ledger.runs(limit=1):
            return RunKey(request.key)  # a new workspace has missed no daily build
        now = datetime.now(UTC)
        decision = self._schedule.current(now).decide(now, self._schedule.taken)
        if decision.builds:
            return RunKey.of_daily_build(decision)
        built = self._ledger.run_with_key(decision.key)
        going_on = built is not None and not built.state.final
        return RunKey(run=built) if going_on else RunKey(request.key)


def _not_due(schedule: Schedule, decision: Decision, now: datetime) -> Conflict:
    """Why the schedule gets no daily build now."""
    due = f"{decision.due.astimezone(schedule.daily_build.zone):%H:%M %Z}"
    if decision.timing is not Timing.PAUSED:
        return Conflict(
            f"The build of {decision.day} is not due before {due}.",
            "Nothing to do: the schedule fires again then.",
        )
    by_hand = f"To build everything now: {tool_command('run --why …')}."
    if pause := schedule.pause_in_words(now):
        return Conflict(f"The daily build is {pause}.", by_hand)
    return Conflict(
        f"The build of {decision.day} was due at {due}, during a pause, and is not made up for.",
        by_hand,
    )


def require_same(run: Run, request: Request) -> None:
    """Raises KeyReused, naming what differs, when `run` was asked for something else."""
    before, now = run.request.what(), request.what()
    different = [name for name in now if _comparable(before[name]) != _comparable(now[name])]
    if different:
        changes = "; ".join(
            f"`{name}` was {_shown(name, before[name])} and is now {_shown(name, now[name])}"
            for name in different
        )
        raise KeyReused(
            f"The idempotency key belongs to run {run.id}, which asked for something else: "
            f"{changes}.",
            "Take a new key for a new request; repeat a request with its first body.",
            run.id,
        )


def _comparable(value: Any) -> str:
    """The value as text that is the same before and after PostgreSQL's jsonb kept it."""
    return json.dumps(_as_jsonb(value), sort_keys=True)


def _as_jsonb(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_jsonb(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_jsonb(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(Decimal(repr(value)))  # 1e3 comes back as 1000
    return value


def _shown(name: str, value: Any) -> str:
    text = json.dumps(variables.shown(value) if name == "variables" else value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
