"""Alerts about a daily build that is not over at its deadline, and about its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from mage_dbt.alerts import message
from mage_dbt.alerts.run_alerts import run_page
from mage_dbt.base.clock import Clock
from mage_dbt.commits.broken import Broken
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.alerts import Alert, AlertLedger
from mage_dbt.ledger.schedule import ScheduleLedger
from mage_dbt.mage import project as mage_project
from mage_dbt.model.commit import Commit
from mage_dbt.model.counts import number
from mage_dbt.model.daily_build import daily_build_key
from mage_dbt.model.deadline import Deadline
from mage_dbt.model.run import Run, RunState
from mage_dbt.model.schedule import Schedule
from mage_dbt.settings import Settings

SETTLE = timedelta(minutes=2)
"""A runner that starts after the deadline gives a late build this long to begin."""


class OverdueAlerts:
    """The alerts about one ledger's daily builds and their deadline."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        ledger: Ledger,
        alerts: AlertLedger,
        commits: Callable[[], tuple[Commit | None, Broken | None]],
    ) -> None:
        """`commits` returns the live commit and the broken one."""
        self._settings = settings
        self._home = home
        self._ledger = ledger
        self._alerts = alerts
        self._commits = commits
        self._zone = ZoneInfo(settings.daily_build_timezone)
        first = Schedule.by_settings(settings.daily_build_at, settings.daily_build_timezone)
        self._schedules = ScheduleLedger(ledger, first)
        self._checked: date | None = None

    def new(self, now: datetime, started: datetime) -> Iterator[Alert]:
        """The alert about the date whose deadline has passed, checked once for each date.

        `started` is the time when this runner began to watch.
        """
        schedule = self._schedules.current(now)
        deadline = self._deadline(schedule)
        day = deadline.passed(now)
        if day is None or day == self._checked:
            return
        run = self._ledger.run_with_key(daily_build_key(day))
        was_up = started <= deadline.over_at(day)
        if run is None and not was_up and now < started + SETTLE:
            return
        key = f"overdue:{day}"
        by = self._over_by(schedule, day)
        if self._alerts.known([key]):
            pass
        elif schedule.time_set and schedule.time_set.at > deadline.over_at(day):
            pass  # the time was set so that the deadline was over already
        elif run is None and self._is_expected(schedule, day, now):
            reason = self._why_not_begun(schedule, day, now)
            text = message.overdue(day, by, "has not begun", reason, self._first_page())
            yield Alert(key, now, text)
        elif run is not None and not run.state.final:
            text = message.overdue(day, by, _progress(run), run.detail, self._page(run), run.id)
            yield Alert(key, now, text, run.id, run.id)
        elif run is not None and self._is_missing(run):
            page = self._page(run)
            text = message.overdue(day, by, "was cancelled", run.detail, page, run.id, False)
            yield Alert(key, now, text, run.id, run.id)
        self._checked = day  # last: an alert that the ledger did not take comes at the next poll

    def recoveries(self, run: Run, root: Run) -> Iterator[Alert]:
        """The alert that an overdue build has passed after all, whoever began it."""
        if not root.is_full_build:
            return
        day = root.morning or str(root.asked_at.astimezone(self._zone).date())
        overdue = f"overdue:{day}"
        key = f"recovery:{overdue}"
        if self._alerts.known([overdue, key]) != {overdue}:
            return
        begun = self._ledger.run_with_key(daily_build_key(date.fromisoformat(day)))
        if begun is not None and self._alerts.known([f"failure:{begun.id}"]):
            return  # its failure had an alert, and so has the recovery of that
        by = self._over_by(self._schedules.current(run.asked_at), date.fromisoformat(day))
        text = message.overdue_recovery(run, day, by, self._page(run), self._zone)
        yield Alert(key, run.asked_at, text, run.id, root.id)

    def _deadline(self, schedule: Schedule) -> Deadline:
        return Deadline.of(schedule.daily_build, self._settings.daily_build_over_by)

    def _over_by(self, schedule: Schedule, day: date) -> str:
        """`09:00 KST`."""
        over_at = self._deadline(schedule).over_at(day)
        return f"{over_at.astimezone(self._zone):%H:%M %Z}"

    def _is_missing(self, run: Run) -> bool:
        """Whether somebody cancelled a daily build, and no other run has done its work."""
        if run.state is not RunState.CANCELLED or run.stopped_with_its_runner:
            return False
        last = self._ledger.last_full_build()
        others = [*self._ledger.story_heads(run.id), *([last] if last else [])]
        return not any(other.state is RunState.SUCCESS for other in others)

    def _is_expected(self, schedule: Schedule, day: date, now: datetime) -> bool:
        """Whether it is news that the build of `day` has not begun."""
        first = self._alerts.first_event()
        if first is None or first > schedule.daily_build.due(day):
            return False  # a new workspace has missed no build
        # A pause has an alert on its first date only.
        before = self._ledger.run_with_key(daily_build_key(day - timedelta(days=1)))
        return before is not None or not self._pause(schedule, day, now)

    def _pause(self, schedule: Schedule, day: date, now: datetime) -> str:
        """Why the build of `day` is held up by a pause; empty when it is not."""
        if pause := schedule.pause_in_words(now):
            return f"it is {pause}"
        due = schedule.daily_build.due(day)
        if schedule.resumed_at is not None and due < schedule.resumed_at:
            until = Clock(self._zone, due).say_with_zone(schedule.resumed_at)
            return f"it was due during a pause, which ended at {until}"
        if mage_project.daily_is_paused(self._home):
            return f"its trigger {mage_project.DAILY_TRIGGER!r} is switched off in Mage"
        return ""

    def _why_not_begun(self, schedule: Schedule, day: date, now: datetime) -> str:
        live, broken = self._commits()
        if pause := self._pause(schedule, day, now):
            return pause
        if live is None:
            wrong = f": {broken.error.message}" if broken else ""
            return f"no commit of dbt-metric is ready{wrong}"
        try:
            processes = json.loads(self._home.processes.read_text())
            mage = next(process["state"] for process in processes if process["name"] == "mage")
        except (OSError, ValueError, LookupError, TypeError, StopIteration):
            return "Mage has not asked for it"
        return "Mage has not asked for it" if mage == "up" else f"Mage is {mage}"

    def _page(self, run: Run) -> str:
        return run_page(self._settings, run)

    def _first_page(self) -> str:
        return f"{self._settings.page_address}/"


def _progress(run: Run) -> str:
    """How far a run is that is not over, in words."""
    if run.state is RunState.RUNNING:
        done = number(result.kind for result in run.nodes if result.type != "operation")
        return f"is running: {done} of {run.planned_nodes} nodes"
    return "waits" if run.state is RunState.QUEUED else "is starting"
