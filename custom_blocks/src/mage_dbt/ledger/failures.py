"""What the ledger knows beside one failed run: earlier passes, earlier failures, rows by day.

Every statement goes by an index, so that none grows with the number of runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from mage_dbt.ledger.ledger import Ledger
from mage_dbt.ledger.sql import BUILT, PASSED_IN, PASSES
from mage_dbt.model.explanation import RowsOnDay
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.run import NodeResult

DAYS = 14
"""Daily builds whose rows are compared."""

MADE = f"({BUILT} and coalesce(run.request ->> 'command', '') !~ '--empty')"
"""Whether a run's pass of a node shows that the node works: it was built, with its rows."""

NOT_PASSED = f"""
select
    at, node, name, type, status, seconds, rows, message, because, relation, materialized,
    sqlstate, signature
from ledger.node_result
where run = %s and not {PASSES}
order by at, node
"""

NEWEST_EVENT = "select coalesce(max(seq), 0) as seq from ledger.event"

PASSED_AFTER = f"""
select distinct case when kind = 'node_finished' then data ->> 'node' end as node
from ledger.event
where seq > %s and (kind = 'refresh' or kind = 'node_finished' and data ->> 'status' in {PASSED_IN})
"""

COUNT_NOT_PASSED = f"""
select count(*) as nodes from ledger.node_result where run = %s and not {PASSES}
"""

PLANNED = """
select
    planned ->> 'node' as node, planned ->> 'name' as name, planned ->> 'type' as type,
    coalesce(planned ->> 'materialized', '') as materialized,
    coalesce(planned ->> 'path', '') as path,
    coalesce(planned -> 'depends_on', '[]') as depends_on, threads
from (
    select data -> 'nodes' as nodes, coalesce((data ->> 'threads')::int, 1) as threads
    from ledger.event where run = %(run)s and kind = 'plan' order by seq desc limit 1
) as plan, jsonb_array_elements(nodes) as planned
where %(nodes)s::text[] is null or planned ->> 'node' = any(%(nodes)s)
"""

COMPILED = """
select distinct on (data ->> 'node') data ->> 'node' as node, data ->> 'compiled' as compiled
from ledger.event
where run = %(run)s and kind = 'node_started' and data ->> 'node' = any(%(nodes)s)
    and data ->> 'compiled' <> ''
order by data ->> 'node', seq desc
"""

LAST_PASSES = f"""
select wanted.node, passed.run, passed.commit, passed.at
from unnest(%(nodes)s::text[]) as wanted (node)
cross join lateral (
    select result.run, run.commit, result.at
    from ledger.node_result as result join ledger.run on run.id = result.run
    where result.node = wanted.node and result.at < %(before)s and result.{PASSES}
        and run.target = %(target)s and {MADE}
    order by result.at desc
    limit 1
) as passed
"""

EARLIER = f"""
with earlier as (
    select wanted.signature, wanted.node as wanted, found.*
    from unnest(%(signatures)s::text[], %(nodes)s::text[]) as wanted (signature, node)
    cross join lateral (
        select result.run, min(result.at) as at, count(*) over () as total
        from ledger.node_result as result join ledger.run on run.id = result.run
        where result.signature = wanted.signature and result.signature <> ''
            and result.at < %(before)s and result.run <> %(run)s and run.target = %(target)s
        group by result.run
        order by min(result.at) desc
        limit %(most)s
    ) as found
)
select
    earlier.wanted, earlier.run, earlier.at, earlier.total, first.node, first.name,
    failed.commit as failed_commit, ended.run as ended_run, ended.commit as ended_commit,
    ended.commit_subject, ended.caller, ended.at as ended_at
from earlier
join ledger.run as failed on failed.id = earlier.run
cross join lateral (
    select node, name from ledger.node_result as result
    where result.run = earlier.run and result.signature = earlier.signature
    order by result.node = earlier.wanted desc, result.at
    limit 1
) as first
left join lateral (
    select result.run, run.commit, run.commit_subject, run.caller, result.at
    from ledger.node_result as result join ledger.run on run.id = result.run
    where result.node = first.node and result.at > earlier.at and result.{PASSES}
        and run.target = %(target)s and {MADE}
    order by result.at
    limit 1
) as ended on true
order by earlier.wanted, earlier.at desc
"""

ROWS_BY_DAY = """
select build.morning, result.node, result.name, result.rows
from (
    select id, morning from ledger.run
    where morning is not null and morning <= %(until)s and target = %(target)s
    order by morning desc
    limit %(days)s
) as build
join ledger.node_result as result on result.run = build.id and result.node = any(%(nodes)s)
order by result.node, build.morning
"""


@dataclass(frozen=True)
class Pass:
    """A result with which a node passed."""

    node: str
    run: str
    commit: str
    at: datetime


@dataclass(frozen=True)
class Earlier:
    """An earlier run that failed with the same signature, and when the same node, or else its
    first such node, next passed; what is not known of that is None."""

    wanted: str
    """The node that was asked for."""
    run: str
    at: datetime
    total: int
    """How many runs have failed with it before."""
    node: str
    name: str
    failed_commit: str
    ended_run: str | None
    ended_commit: str | None
    commit_subject: str | None
    """The subject of `ended_commit`."""
    caller: str | None
    ended_at: datetime | None


@dataclass(frozen=True)
class PlannedNodes:
    """The nodes of a run's plan, as far as an explanation needs them, by unique id."""

    nodes: Mapping[str, PlannedNode]
    threads: int = 1


class FailureLedger:
    """The failures in one ledger. Every method raises LedgerUnreachable while it is away."""

    def __init__(self, ledger: Ledger) -> None:
        self._rows = ledger.rows

    def not_passed(self, run: str) -> list[tuple[NodeResult, datetime]]:
        """The results of the run that are no passes, in the order in which they came, and when."""
        found = []
        for row in self._rows(NOT_PASSED, [run]):
            at = row.pop("at")
            found.append((NodeResult(**row), at))
        return found

    def newest_event(self) -> int:
        """The sequence number of the last event: while it stays, nothing has happened."""
        return int(self._rows(NEWEST_EVENT)[0]["seq"])

    def passed_after(self, event: int) -> set[str] | None:
        """The nodes that have passed after an event; None when a refresh went on: what it built
        counts from its swap on."""
        found = {row["node"] for row in self._rows(PASSED_AFTER, [event])}
        return None if None in found else found

    def count_not_passed(self, run: str) -> int:
        return int(self._rows(COUNT_NOT_PASSED, [run])[0]["nodes"])

    def planned(self, run: str, nodes: Collection[str] | None = None) -> PlannedNodes:
        """What the run planned, or of that only some nodes; none when it never got as far."""
        values = {"run": run, "nodes": None if nodes is None else list(nodes)}
        found, threads = {}, 1
        for row in self._rows(PLANNED, values):
            threads = row.pop("threads")
            row["depends_on"] = tuple(row["depends_on"])
            found[row["node"]] = PlannedNode(**row)
        return PlannedNodes(found, threads)

    def compiled(self, run: str, nodes: Sequence[str]) -> dict[str, str]:
        """By node, its compiled SQL's file, relative to the run's folder."""
        rows = self._rows(COMPILED, {"run": run, "nodes": list(nodes)})
        return {row["node"]: row["compiled"] for row in rows}

    def last_passes(
        self, nodes: Sequence[str], target: str, before: datetime | None = None
    ) -> dict[str, Pass]:
        """By node, its last pass on the target, or its last one before a time."""
        if not nodes:
            return {}
        values = {"nodes": list(nodes), "target": target, "before": before or "infinity"}
        return {row["node"]: Pass(**row) for row in self._rows(LAST_PASSES, values)}

    def earlier(
        self, signatures: Mapping[str, str], run: str, target: str, before: datetime, most: int
    ) -> dict[str, list[Earlier]]:
        """By node, the last runs before a time that failed with its signature, the newest first.

        `signatures` are those of the nodes.
        """
        values = {
            "nodes": list(signatures),
            "signatures": list(signatures.values()),
            "run": run,
            "target": target,
            "before": before,
            "most": most,
        }
        found: dict[str, list[Earlier]] = {}
        for row in self._rows(EARLIER, values) if signatures else ():
            found.setdefault(row["wanted"], []).append(Earlier(**row))
        return found

    def rows_by_day(self, nodes: Sequence[str], target: str, until: date) -> tuple[RowsOnDay, ...]:
        """The rows that the nodes wrote in the last daily builds, the oldest first for each."""
        values = {"nodes": list(nodes), "target": target, "until": until, "days": DAYS}
        return tuple(
            RowsOnDay(row["morning"].isoformat(), row["node"], row["name"], row["rows"])
            for row in self._rows(ROWS_BY_DAY, values)
        )
