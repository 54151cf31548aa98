"""The ledger's table of schedules: each change of the daily build's time or pause is a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from mage_dbt.ledger.ledger import Ledger
from mage_dbt.model.run import Run
from mage_dbt.model.schedule import Change, ChangeKind, PastChange, Schedule, local_time
from mage_dbt.model.schedule_change import ScheduleUpdate

CURRENT = """
with last as (
    select * from ledger.schedule order by seq desc limit 1
), timed as (
    select * from ledger.schedule
    where seq > coalesce((
        select max(earlier.seq) from ledger.schedule as earlier, last
        where earlier.build_at is distinct from last.build_at
    ), 0)
    order by seq limit 1
), paused as (
    select * from ledger.schedule as row
    where seq > coalesce((
        select max(earlier.seq) from ledger.schedule as earlier, last
        where not earlier.paused or earlier.paused_until is distinct from last.paused_until
    ), 0)
    and not exists (  -- a new time during the pause says nothing of the pause
        select from ledger.schedule as before
        where before.seq = (
            select max(earlier.seq) from ledger.schedule as earlier where earlier.seq < row.seq
        )
        and before.paused and before.paused_until is not distinct from row.paused_until
        and before.build_at is distinct from row.build_at
    )
    order by seq desc limit 1
), pause as (
    select * from ledger.schedule where paused order by seq desc limit 1
)
select
    last.*,
    timed.by as timed_by, timed.at as timed_at, timed.why as timed_why,
    paused.by as paused_by, paused.at as paused_at, paused.why as paused_why,
    (
        select least(pause.paused_until, (
            select at from ledger.schedule as later where later.seq > pause.seq
            order by seq limit 1
        ))
        from pause
    ) as resumed_at
from last cross join timed left join paused on last.paused
"""
"""The last row, with who has set its time, who has paused it or given its pause another reason, and
when the last pause ended."""

INSERT = """
insert into ledger.schedule (at, by, why, build_at, zone, paused, paused_until)
values (%(at)s, %(by)s, %(why)s, %(build_at)s, %(zone)s, %(paused)s, %(paused_until)s)
"""

LOCK = 1_784_213_006
"""The advisory lock under which a change is written: it is made of the row before it."""


@dataclass(frozen=True)
class _State:
    """What one row says. `build_at` is None for the time of the settings."""

    build_at: time | None = None
    paused: bool = False
    paused_until: datetime | None = None

    def after(self, update: ScheduleUpdate) -> _State:
        if update.reset:
            return _State()
        found = self
        if update.build_at is not None:
            found = replace(found, build_at=update.build_at)
        if update.paused is not None:
            found = replace(found, paused=update.paused, paused_until=update.paused_until)
        return found


class ScheduleLedger:
    """The schedule in one ledger. Every method raises LedgerUnreachable while it is away."""

    def __init__(self, ledger: Ledger, first: Schedule) -> None:
        """`first` is the settings' schedule: its time holds while nobody has set one, its zone
        always."""
        self._connection = ledger.connection  # the same pool and the same errors
        self._first = first

    def current(self, now: datetime) -> Schedule:
        """The schedule that holds at `now`."""
        with self._connection() as connection:
            return self._current(connection).at_time(now)

    def set(self, update: ScheduleUpdate, by: str, now: datetime) -> Schedule:
        """Writes a change; returns the schedule that holds after it.

        A change that changes nothing is not written; another reason for a pause is one that does.
        Of changes at once each builds on the one
        before: a new time and a pause both hold.
        """
        with self._connection() as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", [LOCK])
            before = self._current(connection).at_time(now)
            held = before.build_at if before.settings_at is not None else None
            state = _State(held, before.paused, before.paused_until)
            after = state.after(update)
            pause = before.pause_set if update.paused else None
            if after != state or (pause and update.why and update.why != pause.why):
                values = vars(after) | {"at": now, "by": by, "why": update.why}
                connection.execute(INSERT, values | {"zone": self._first.zone})
            return self._current(connection).at_time(now)

    def history(self, limit: int = 20) -> list[PastChange]:
        """The last changes, the newest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "select * from ledger.schedule order by seq desc limit %s", [limit + 1]
            ).fetchall()
        pairs = zip_longest(rows, rows[1:])
        return [_change(row, before) for row, before in pairs][:limit]

    def _current(self, connection: psycopg.Connection[dict[str, Any]]) -> Schedule:
        row = connection.execute(CURRENT).fetchone()
        if row is None:
            return self._first
        first, zone = self._first, ZoneInfo(self._first.zone)
        row = {
            name: local_time(value, zone) if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        is_set, paused = row["build_at"] is not None, row["paused"]
        return replace(
            first,
            build_at=row["build_at"] if is_set else first.build_at,
            paused=paused,
            paused_until=row["paused_until"],
            by=row["by"],
            why=row["why"],
            at=row["at"],
            settings_at=first.build_at if is_set else None,
            time_set=_signature(row, "timed"),
            pause_set=_signature(row, "paused") if paused else None,
            resumed_at=None if paused else row["resumed_at"],
        )


class DailyKeys:
    """The keys of daily builds that runs have, as a Schedule asks for them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __contains__(self, key: object) -> bool:
        return bool(self._ids(key))

    def story(self, key: str) -> list[Run]:
        """The run that has the key, then its reruns; without their nodes."""
        return self._ledger.story_heads(self._ids(key)[0])

    def _ids(self, key: object) -> list[str]:
        rows = self._ledger.rows("select id from ledger.run where idempotency_key = %s", [key])
        return [row["id"] for row in rows]


def _signature(row: Mapping[str, Any], prefix: str) -> Change:
    return Change(row[f"{prefix}_by"], row[f"{prefix}_at"], row[f"{prefix}_why"])


def _change(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> PastChange:
    """A row as what it changed in the one before it."""
    earlier = _State() if before is None else _state(before, row["at"])
    later = _state(row, row["at"])
    what = []
    if later == _State():
        what = [ChangeKind.RESUME if earlier.build_at is None else ChangeKind.RESET]
    else:
        if later.build_at != earlier.build_at:
            what.append(ChangeKind.TIME)
        if (later.paused, later.paused_until) != (earlier.paused, earlier.paused_until):
            what.append(ChangeKind.PAUSE if later.paused else ChangeKind.RESUME)
        if not what:
            what.append(ChangeKind.PAUSE)  # with another reason
    return PastChange(
        row["at"], row["by"], row["why"], tuple(what), later.build_at, later.paused_until
    )


def _state(row: Mapping[str, Any], at: datetime) -> _State:
    """What a row says at that time: its pause may have ended by then."""
    until = row["paused_until"]
    paused = row["paused"] and (until is None or at < until)
    return _State(row["build_at"], paused, until if paused else None)
