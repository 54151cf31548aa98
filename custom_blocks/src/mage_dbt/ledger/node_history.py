"""What the ledger knows of one node over time, and of many nodes now.

Every statement goes by the index on (node, at) and reads a bounded number of rows of each node, so
that none grows with the number of runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from mage_dbt.ledger.ledger import ESTIMATED_FROM, Ledger
from mage_dbt.ledger.sql import BUILT, PASSES
from mage_dbt.model.shown_model import GoneModel, LastResult, PastResult

LOOKED_AT = 60
"""Results of a node among which its last executed one, and those of an estimate, are looked for."""

REACHED = 2_000
"""Results among which the last build is looked for."""

RESULTS = f"""
select
    result.run, result.at, result.status, result.seconds, result.rows, result.message,
    result.because, run.operation, run.cause, run.caller, run.commit, run.commit_subject,
    (result.{PASSES} and {BUILT}) as built
from (
    select * from ledger.node_result where node = %(node)s order by at desc limit %(limit)s
) as result
join ledger.run on run.id = result.run
order by result.at desc
"""

IDENTITY = """
select name, type, materialized, relation from ledger.node_result
where node = %(node)s order by at desc limit 1
"""

NAMED = """
select distinct node from (
    select node, type from ledger.node_result where name = %(name)s
    order by at desc limit %(reached)s
) as result
where type in ('model', 'seed', 'snapshot') order by node
"""

PREFIXES = ("model.", "seed.", "snapshot.")
"""Of the unique ids of what a build leaves in the warehouse."""

KNOWN = """
with recursive known (prefix, node) as (
    select wanted.prefix, (
        select result.node from ledger.node_result as result where result.node >= wanted.prefix
        order by result.node limit 1
    )
    from unnest(%(prefixes)s::text[]) as wanted (prefix)
    union all
    select known.prefix, (
        select result.node from ledger.node_result as result where result.node > known.node
        order by result.node limit 1
    )
    from known where starts_with(known.node, known.prefix)
)
select node from known where starts_with(node, prefix)
"""
"""Each node with these prefixes once, by one step of the index for each, however many results it
has. A linguistic collation may pass over the dot, and yet keeps those of one prefix together: no
other type of dbt's begins with one of these words. So no end of the range is compared.
"""

LAST_STATE = f"""
select wanted.node, built.name, built.type, built.materialized, built.relation,
    built.at as built_at, built.run as built_run
from unnest(%(nodes)s::text[]) as wanted (node)
cross join lateral (
    select result.*
    from (
        select * from ledger.node_result
        where node_result.node = wanted.node order by at desc limit %(reached)s
    ) as result
    join ledger.run on run.id = result.run
    where run.target = %(target)s and result.{PASSES} and {BUILT}
    order by result.at desc
    limit 1
) as built
where built.materialized <> 'ephemeral'
order by built.at desc, wanted.node
"""

LAST_BUILT = f"""
select
    result.run, result.at, result.status, result.seconds, result.rows, result.message,
    result.because, run.operation, run.cause, run.caller, run.commit, run.commit_subject,
    true as built
from (
    select * from ledger.node_result where node = %(node)s order by at desc limit %(reached)s
) as result
join ledger.run on run.id = result.run
where run.target = %(target)s and result.{PASSES} and {BUILT}
order by result.at desc
limit 1
"""

LAST = """
select
    wanted.node,
    coalesce(executed.status, newest.status) as status,
    coalesce(executed.at, newest.at) as at,
    coalesce(executed.run, newest.run) as run
from unnest(%(nodes)s::text[]) as wanted (node)
cross join lateral (
    select status, at, run from ledger.node_result
    where node_result.node = wanted.node order by at desc limit 1
) as newest
left join lateral (
    select status, at, run
    from (
        select status, at, run from ledger.node_result
        where node_result.node = wanted.node order by at desc limit %(looked_at)s
    ) as result
    where status <> 'skipped'
    order by at desc
    limit 1
) as executed on newest.status = 'skipped'
"""

USUAL = f"""
select wanted.node, percentile_cont(0.5) within group (order by found.seconds) as seconds
from unnest(%(nodes)s::text[]) as wanted (node)
cross join lateral (
    select result.seconds
    from (
        select * from ledger.node_result
        where node_result.node = wanted.node order by at desc limit %(looked_at)s
    ) as result
    join ledger.run on run.id = result.run
    where run.target = %(target)s and result.{PASSES} and {BUILT}
        and run.operation <> 'full_refresh'
        and coalesce(run.request ->> 'command', '') !~ '--empty|--full-refresh'
    order by result.at desc
    limit %(last)s
) as found
group by wanted.node
"""

FAILURES = """
select
    node,
    count(*) as results,
    min(at) as known_since,
    count(*) filter (where not fine and at >= %(month)s) as failures_30,
    count(*) filter (where not fine) as failures_90,
    max(at) filter (where not fine) as failed_at,
    (array_agg(run order by at desc) filter (where not fine))[1] as failed_run
from (
    select node, at, run, status = any(%(fine)s) as fine from ledger.node_result
    where node = any(%(nodes)s) and at >= %(quarter)s and status <> 'skipped'
) as result
group by node
"""

COMPILED = """
select data ->> 'compiled' as compiled from ledger.event
where run = %(run)s and kind = 'node_started' and data ->> 'node' = %(node)s
order by seq desc limit 1
"""

FINE = ("pass", "success")
"""A warning is no failure of the run; of the test it is."""


@dataclass(frozen=True)
class Failures:
    """How often a node did not pass; skipped results do not count."""

    node: str
    results: int
    known_since: datetime | None
    failures_30: int
    failures_90: int
    failed_at: datetime | None
    failed_run: str | None


@dataclass(frozen=True)
class Identity:
    """What the ledger calls a node."""

    name: str
    type: str
    materialized: str
    relation: str


class NodeHistory:
    """The history of nodes in one ledger. Every method raises LedgerUnreachable when it is away."""

    def __init__(self, ledger: Ledger) -> None:
        self._rows = ledger.rows

    def results(self, node: str, limit: int) -> tuple[PastResult, ...]:
        """The last results of a node, the newest first."""
        values = {"node": node, "limit": limit}
        return tuple(PastResult(**row) for row in self._rows(RESULTS, values))

    def identity(self, node: str) -> Identity | None:
        """How the ledger knows the node; None when no run ever had it."""
        rows = self._rows(IDENTITY, {"node": node})
        return Identity(**rows[0]) if rows else None

    def named(self, name: str) -> tuple[str, ...]:
        """The unique ids of models, seeds and snapshots that had this name in recent runs."""
        rows = self._rows(NAMED, {"name": name, "reached": REACHED})
        return tuple(row["node"] for row in rows)

    def known(self) -> set[str]:
        """The unique ids of all models, seeds and snapshots that a run has come to."""
        return {row["node"] for row in self._rows(KNOWN, {"prefixes": list(PREFIXES)})}

    def last_states(self, nodes: Iterable[str], target: str) -> tuple[GoneModel, ...]:
        """What their last builds on the target left there, the last built first; nothing of what
        was never built."""
        values = {"nodes": list(nodes), "target": target, "reached": REACHED}
        return tuple(GoneModel(**row) for row in self._rows(LAST_STATE, values))

    def last_built(self, node: str, target: str) -> PastResult | None:
        """The last result on the target that changed what people read."""
        values = {
            "node": node,
            "target": target,
            "reached": REACHED,
        }
        rows = self._rows(LAST_BUILT, values)
        return PastResult(**rows[0]) if rows else None

    def last(self, nodes: Iterable[str]) -> dict[str, LastResult]:
        """By node, its last result; a skipped one only without another."""
        values = {"nodes": list(nodes), "looked_at": LOOKED_AT}
        return {row["node"]: LastResult(**row) for row in self._rows(LAST, values)}

    def usual_seconds(self, nodes: Iterable[str], target: str) -> dict[str, float]:
        """By node, the median seconds of its last builds on the target, full refreshes left out."""
        values = {
            "nodes": list(nodes),
            "target": target,
            "looked_at": LOOKED_AT,
            "last": ESTIMATED_FROM,
        }
        return {row["node"]: float(row["seconds"]) for row in self._rows(USUAL, values)}

    def failures(
        self, nodes: Sequence[str], month: datetime, quarter: datetime
    ) -> dict[str, Failures]:
        """By node, how often it failed or warned since `month` and since `quarter`, the earlier."""
        values = {"nodes": list(nodes), "month": month, "quarter": quarter, "fine": list(FINE)}
        return {row["node"]: Failures(**row) for row in self._rows(FAILURES, values)}

    def compiled(self, run: str, node: str) -> str:
        """The file of the node's compiled SQL in that run; empty where dbt wrote none."""
        rows = self._rows(COMPILED, {"run": run, "node": node})
        return (rows[0]["compiled"] if rows else "") or ""
