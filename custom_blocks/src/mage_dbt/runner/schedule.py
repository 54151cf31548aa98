"""The daily build's schedule: read from the ledger, changed there, and held in Mage's trigger too.

Who may change it is decided where the change comes in. Somebody may also switch the daily trigger
off or on in Mage. Then that is a change like any other, and is written to the ledger. To know whose
turn it was, the runner keeps what the two last agreed on: whichever differs from that has changed.
Both are only ever on or off, so there is no third case, and neither undoes the other.

Mage takes what the runner writes some seconds later. Until then it may also write what it knew
before, or what the runner wrote in between. So the runner keeps what it has written as well: until
Mage has taken it, no switch in the file is somebody's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from mage_dbt.errors import LedgerUnreachable
from mage_dbt.home import Home
from mage_dbt.identity import rights
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.schedule import DailyKeys, ScheduleLedger
from mage_dbt.mage import project as mage_project
from mage_dbt.mage.pipeline_run import SOMEBODY
from mage_dbt.mage.project import DAILY_PIPELINE, DAILY_TRIGGER, Agreed, Written
from mage_dbt.mage.tables import MageTables
from mage_dbt.model.daily_build import Timing
from mage_dbt.model.deadline import Deadline
from mage_dbt.model.run import Run, RunState
from mage_dbt.model.schedule import Outlook, Schedule, Today
from mage_dbt.model.schedule_change import ScheduleRequest, ScheduleUpdate
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

SETTLES = timedelta(seconds=30)
"""After a switch that overwrote another: so long Mage may still write the earlier one. It reads its
files every 10 s. Only a clock tells: Mage's row has the switch, and not of which write it is."""

TODAY = {
    Timing.BEFORE: Today.COMES,
    Timing.ON_TIME: Today.LATE,
    Timing.LATE: Today.LATE,
    Timing.PAUSED: Today.PAUSED,
}


class DailySchedule:
    """One runner's schedule; any method from any thread."""

    def __init__(self, settings: Settings, home: Home, ledger: Ledger, tables: MageTables) -> None:
        self._home = home
        self._tables = tables
        self._over_by = settings.daily_build_over_by
        self._known = Schedule.by_settings(settings.daily_build_at, settings.daily_build_timezone)
        self._schedules = ScheduleLedger(ledger, self._known)
        self.taken = DailyKeys(ledger)
        """The keys of daily builds that runs have."""
        self._keeping = threading.Lock()
        self._kept: object = None
        """What the trigger in Mage was last written for, while nothing has changed since."""

    def current(self, now: datetime) -> Schedule:
        """The schedule that holds now. Raises LedgerUnreachable."""
        self._known = self._schedules.current(now)
        return self._known

    def last_known(self, now: datetime) -> Schedule:
        """The same; while PostgreSQL is away, what held when it last answered."""
        try:
            return self.current(now)
        except LedgerUnreachable:
            return self.remembered(now)

    def remembered(self, now: datetime) -> Schedule:
        """What held when PostgreSQL last answered, which is not asked."""
        return self._known.at_time(now)

    def outlook(self, now: datetime) -> Outlook:
        """The schedule, the next builds and the last changes."""
        schedule = self.current(now)
        return Outlook(
            schedule=schedule,
            next=schedule.coming(now, self.taken),
            today=self._today(schedule, now),
            over_by=Deadline.of(schedule.daily_build, self._over_by).over_by,
            changes=tuple(self._schedules.history()),
            may_change=str(rights.WORKSPACE),
        )

    def _today(self, schedule: Schedule, now: datetime) -> Today:
        decision = schedule.decide(now, self.taken)
        if decision.timing is Timing.ALREADY:
            return became(self.taken.story(decision.key))
        today = TODAY[decision.timing]
        if today is Today.LATE and not mage_project.begins_late(self._home, decision.due):
            return Today.BEFORE
        return today

    def change(self, asked: ScheduleRequest, by: str, now: datetime) -> Outlook:
        """Changes the schedule, and Mage's trigger with it. Raises RequestError."""
        zone = self._known.daily_build.zone
        update = ScheduleUpdate.checked(asked, zone, now)
        schedule = self._schedules.set(update, by, now)
        log.info("schedule: changed by %s: %s", by, _in_words(schedule, now))
        self.hold(now)
        return self.outlook(now)

    def hold(self, now: datetime) -> None:
        """Makes the daily trigger in Mage say what the ledger says, or the other way round.

        Call it every second: it does nothing while nothing has changed.
        """
        with self._keeping:
            schedule = self.current(now)
            version = mage_project.daily_version(self._home)
            if self._kept == (schedule, version, _minute(now)):
                return
            switch = mage_project.daily_switch(self._home)
            if switch is None:
                return  # no Mage here, or it is writing the file at this moment
            switched_off = switch == "inactive"
            schedule = self._with_mages_switch(schedule, switched_off, now)
            if switched_off != schedule.paused:
                self._remember_writing(schedule.paused, now)
            mage_project.write_schedule(schedule, self._home, now, paused=schedule.paused)
            if self._agree(schedule, now):
                version = mage_project.daily_version(self._home)
                self._kept = (schedule, version, _minute(now))

    def _with_mages_switch(self, schedule: Schedule, switched_off: bool, now: datetime) -> Schedule:
        """The schedule, with what somebody has switched in Mage since the two agreed."""
        if switched_off == schedule.paused or mage_project.written(self._home) is not None:
            return schedule
        agreed = mage_project.agreed(self._home)
        # Without a memory the ledger is right, unless nobody has ever written to it.
        in_mage = schedule.at is None if agreed is None else agreed.paused == schedule.paused
        if not in_mage:
            return schedule
        word = "off" if switched_off else "on"
        why = f"{DAILY_TRIGGER!r} was switched {word} in Mage"
        log.info("schedule: %s", why)
        update = ScheduleUpdate(paused=switched_off, why=why)
        self._known = self._schedules.set(update, SOMEBODY, now)
        return self._known

    def _remember_writing(self, paused: bool, now: datetime) -> None:
        before = mage_project.written(self._home)
        if before is None:
            mage_project.keep_written(self._home, Written(paused))
        elif before.paused != paused:
            mage_project.keep_written(self._home, Written(paused, overwrote_at=now))

    def _agree(self, schedule: Schedule, now: datetime) -> bool:
        """Notes that Mage's trigger says the same, as soon as Mage has read it from its file."""
        status = self._tables.trigger_status(DAILY_PIPELINE, DAILY_TRIGGER)
        if status not in (None, "inactive" if schedule.paused else "active"):
            return False
        written = mage_project.written(self._home)
        overwrote_at = written.overwrote_at if written else None
        if status and overwrote_at and now < overwrote_at + SETTLES:
            return False  # what Mage says may be from before both
        found = Agreed(schedule, schedule.paused)
        if written is not None or mage_project.agreed(self._home) != found:
            mage_project.keep_agreed(self._home, found)
        return True


def became(story: Sequence[Run]) -> Today:
    """What became of a daily build; `story`: its run, then its reruns."""
    build = story[0]
    if build.state is RunState.QUEUED:
        return Today.WAITS
    if not build.state.final:
        return Today.RUNS
    if any(run.state is RunState.SUCCESS for run in story):
        return Today.BUILT
    return Today.CANCELLED if build.state is RunState.CANCELLED else Today.FAILED


def _in_words(schedule: Schedule, now: datetime) -> str:
    return schedule.pause_in_words(now) or f"every day at {schedule.time_in_words(now)}"


def _minute(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(second=0, microsecond=0)
