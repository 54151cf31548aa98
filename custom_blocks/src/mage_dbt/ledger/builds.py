"""Full builds, what became of them, and which runs are not over; never loaded node by node.

Every statement goes by an index, or reads the runs of some weeks once until a run ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from mage_dbt.ledger.ledger import IS_FULL_BUILD, Ledger
from mage_dbt.ledger.sql import FINAL_STATES
from mage_dbt.model.run import Run, RunState

USUAL_FROM = 9
"""Full builds whose median time is the usual one, so that one outlier does not count."""

USUAL_SINCE = timedelta(days=60)
"""Older builds do not say how long one takes today."""

LOOKED_THROUGH = 300
"""The newest runs among which one that is not over is looked for."""

LAST_END = f"""
select seq from ledger.event
where kind = 'state' and data ->> 'state' in {FINAL_STATES}
order by at desc limit 1
"""

NEWEST = f"""
with recursive story as (
    (
        select id from (
            (
                select id, asked_at, false as runs from ledger.run where {IS_FULL_BUILD}
                order by asked_at desc, id desc limit 1
            )
            union all
            (
                select recent.id, recent.asked_at, true from (
                    select * from ledger.run order by asked_at desc, id desc limit {LOOKED_THROUGH}
                ) as recent
                cross join lateral (
                    select data ->> 'state' as state from ledger.event
                    where event.run = recent.id and kind = 'state' order by seq desc limit 1
                ) as last
                where {IS_FULL_BUILD} and last.state in ('Starting', 'Running')
            )
        ) as build
        order by runs desc, asked_at desc, id desc limit 1
    )
    union
    select rerun.id from story cross join lateral (
        select id from ledger.run where run.follows = story.id offset 0
    ) as rerun
)
select id from story
"""
"""`offset 0` keeps PostgreSQL from joining with all runs, of which it thinks there may be many."""

COUNTS = """
select status, count(*) as nodes from ledger.node_result
where run = %s and (type, materialized) <> ('model', 'ephemeral')
group by status
"""

PLANNED = """
select run, coalesce((data -> 'counted')::int, jsonb_array_length(data -> 'names')) as nodes
from ledger.event where run = any(%s) and kind = 'plan'
"""

USUAL = f"""
select percentile_cont(0.5) within group (order by seconds) as seconds
from (
    select extract(epoch from finished_at - started_at)::float as seconds
    from ledger.run_now
    where {IS_FULL_BUILD} and state = 'Success' and started_at is not null
        and asked_at >= %(since)s and asked_at < %(before)s
    order by asked_at desc
    limit %(last)s
) as last
"""

DAYS = f"""
with recursive build as (
    select
        id, coalesce(morning, (asked_at at time zone %(zone)s)::date) as day,
        morning is not null as daily, asked_at
    from ledger.run
    where asked_at >= %(since)s and {IS_FULL_BUILD}
), story as (
    select id as root, id as run from build
    union
    select story.root, rerun.id from story cross join lateral (
        select id from ledger.run where run.follows = story.run offset 0
    ) as rerun
), ended as (
    select story.root, story.run, state.data ->> 'state' as state
    from story cross join lateral (
        select data from ledger.event
        where event.run = story.run and kind = 'state' order by seq desc limit 1
    ) as state
)
select
    build.day, build.id as run, build.daily, build.asked_at, own.state,
    exists (
        select from ended where ended.root = build.id and ended.run <> build.id
            and ended.state = 'Success'
    ) as repaired
from build join ended as own on own.run = build.id and own.root = build.id
order by build.asked_at, build.id
"""

UNFINISHED = f"""
select newest.id from (
    select id from ledger.run order by asked_at desc limit %s
) as newest
cross join lateral (
    select data ->> 'state' as state from ledger.event
    where event.run = newest.id and kind = 'state' order by seq desc limit 1
) as last
where last.state not in {FINAL_STATES}
"""


NEVER_RAN = """
select node from unnest(%s::text[]) as wanted (node)
where not exists (select from ledger.node_result where node_result.node = wanted.node)
"""


@dataclass(frozen=True)
class Built:
    """A full build, and whether a rerun of it has passed."""

    day: date
    """The local date whose daily build it is, or on which it was asked for."""
    run: str
    daily: bool
    asked_at: datetime
    state: RunState
    repaired: bool


class BuildLedger:
    """Full builds in one ledger. Every method raises LedgerUnreachable while it is away."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._rows = ledger.rows

    def last_end(self) -> int:
        """A number that is another one once a run has ended."""
        rows = self._rows(LAST_END)
        return int(rows[0]["seq"]) if rows else 0

    def newest(self) -> list[Run]:
        """The newest full build, whoever began it, then its reruns; without their nodes.

        While one runs, that one: others wait behind it.
        """
        return self._ledger.heads([row["id"] for row in self._rows(NEWEST)])

    def counts(self, run: str) -> dict[str, int]:
        """The number of results by status, as dbt counts them."""
        return {row["status"]: row["nodes"] for row in self._rows(COUNTS, [run])}

    def planned(self, runs: Sequence[str]) -> dict[str, int]:
        """By run, the number of its planned nodes; without those that are not planned yet."""
        rows = self._rows(PLANNED, [list(runs)]) if runs else ()
        return {row["run"]: row["nodes"] for row in rows}

    def usual_seconds(self, before: datetime) -> float | None:
        """The median time of the last full builds before then that passed; None without any."""
        values = {"since": before - USUAL_SINCE, "before": before, "last": USUAL_FROM}
        seconds = self._rows(USUAL, values)[0]["seconds"]
        return None if seconds is None else round(float(seconds), 1)

    def since(self, since: datetime, zone: str) -> list[Built]:
        """The full builds asked for since then, the oldest first."""
        rows = self._rows(DAYS, {"since": since, "zone": zone})
        return [Built(**{**row, "state": RunState(row["state"])}) for row in rows]

    def never_ran(self, nodes: Sequence[str]) -> set[str]:
        """Those of the nodes that no run has come to, whether it built or skipped them."""
        return {row["node"] for row in self._rows(NEVER_RAN, [list(nodes)])}

    def unfinished(self) -> list[str]:
        """Those of the newest runs that are not over, of any runner."""
        return [row["id"] for row in self._rows(UNFINISHED, [LOOKED_THROUGH])]
