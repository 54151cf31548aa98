"""What a run's own page shows, read in parts: a run may have 15,000 nodes, and few are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mage_dbt.ledger.ledger import Ledger, no_run, run_of
from mage_dbt.ledger.sql import (
    OF_PLAN,
    PASSES,
    RESULT,
    RUN_HEAD,
    STORY_IDS,
    failed_of,
    plan_of,
    steps_of,
)
from mage_dbt.model.run import RUN_ID, NodeResult, Run
from mage_dbt.model.timeline import Bar, Timeline

MOST_FAILED = 200
"""Failed nodes of one run that are read."""

MOST_NAMES = 100
"""Names of skipped nodes that are read for each cause and kind."""

DAYS = 14
"""Daily builds whose rows are compared."""

PARTS = f"""
select{OF_PLAN}
from ledger.run{plan_of("run.id")}
where run.id = %(run)s
"""

STEPS = """
select data || jsonb_build_object('at', at) as step from ledger.event
where run = %(run)s and kind = 'refresh' and data ?& array['step', 'text'] order by seq
"""

TOTALS = """
select status, count(*)::int as nodes from ledger.node_result
where run = %(run)s and (type, materialized) <> ('model', 'ephemeral')
group by status
"""

STORY = f"""
{STORY_IDS}
select listed.*, coalesce(failed.names, array[]::text[]) as failed_names
from (
    {RUN_HEAD} where id in (select id from down)
) as listed{failed_of("listed.id")}
order by asked_at, id
"""

# One statement, so that state, counts and results are of one moment. Of the run's nodes PostgreSQL
# writes the JSON: read as values and written again they would take three times as long.
WHOLE = f"""
{STORY_IDS}
select listed.*,
    case when listed.id = %(run)s then coalesce(plan.names, '[]'::jsonb) else '[]'::jsonb end
        as planned,{OF_PLAN},
    coalesce(steps.refresh, '[]'::jsonb) as refresh,
    coalesce(failed.names, array[]::text[]) as failed_names,
    coalesce(totals.totals, '{{}}'::json) as totals,
    coalesce(results.nodes, '[]') as nodes
from (
    {RUN_HEAD} where id in (select id from down)
) as listed{plan_of("listed.id")}{steps_of("listed.id")}{failed_of("listed.id")}
left join lateral (
    select json_object_agg(status, number order by first, status) as totals
    from (
        select status, count(*) as number, min(at) as first from ledger.node_result
        where run = listed.id and listed.id = %(run)s
            and (type, materialized) <> ('model', 'ephemeral')
        group by status
    ) as by_status
) as totals on true
left join lateral (
    select json_agg(by_time)::text as nodes
    from (
        select{RESULT}
        from ledger.node_result where run = listed.id and listed.id = %(run)s
        order by node_result.at
    ) as by_time
) as results on true
order by asked_at, id
"""

LAST_STATUSES = f"""
{STORY_IDS}
select distinct on (node) node, status from ledger.node_result
where run in (select id from down) and node = any(%(nodes)s)
order by node, status = 'skipped', at desc
"""

LEFT = f"""
select count(*)::int as nodes, count(*) filter (where passed)::int as passed
from (
    select bool_or({PASSES}) as passed
    from ledger.node_result
    where run = any(%(runs)s) and (type, materialized) <> ('model', 'ephemeral')
    group by node
) as by_node
"""

# Arrays and one object are read faster than as many rows.
TIMES = """
select
    array_agg(node) as nodes, array_agg(name) as names, array_agg(type) as types,
    array_agg(status) as statuses, array_agg(seconds) as seconds,
    array_agg(extract(epoch from at)::float8) as ended
from ledger.node_result
where run = %(run)s and status <> 'skipped'
"""

STARTS = """
select
    array_agg(data ->> 'node' order by seq) as nodes,
    array_agg(extract(epoch from at)::float8 order by seq) as begun
from ledger.event where run = %(run)s and kind = 'node_started'
"""

READS = """
select jsonb_object_agg(part ->> 'node', part -> 'depends_on') as reads
from ledger.event, jsonb_array_elements(event.data -> 'nodes') as part
where event.seq = (select max(seq) from ledger.event where run = %(run)s and kind = 'plan')
"""

NODES = "select to_jsonb(shown) - 'run' - 'at' as result from ({}) as shown"

FAILED = NODES.format(
    "select * from ledger.node_result"
    f" where run = %(run)s and not {PASSES} and status <> 'skipped'"
    " order by at, node limit %(most)s"
)

OTHERS = NODES.format(
    "select * from ledger.node_result"
    f" where run = %(run)s and {PASSES}"
    " and (type, materialized) <> ('model', 'ephemeral')"
    " order by status <> 'warn', seconds desc, node limit %(most)s offset %(after)s"
)

SKIPPED = """
select because, message, type in ('test', 'unit_test') as tests, count(*)::int as nodes,
    (array_agg(name order by name collate "C"))[1:%(most)s] as names
from (
    select because, case when because = '' then message else '' end as message, type, name
    from ledger.node_result
    where run = %(run)s and status = 'skipped' and (type, materialized) <> ('model', 'ephemeral')
) as skipped
group by because, message, tests
"""

ROWS = """
select run.id = %(run)s as this, sum(rows)::float8 as rows
from (
    (select id from ledger.run where id = %(run)s)
    union all
    (
        select id from ledger.run
        where morning is not null and asked_at < %(before)s order by asked_at desc limit %(days)s
    )
) as run
join ledger.node_result on node_result.run = run.id
where rows is not null and type in ('model', 'seed', 'snapshot')
group by run.id
"""


@dataclass(frozen=True)
class StoryRun:
    """One run of a story."""

    run: Run
    """Without its nodes."""
    failed: tuple[str, ...]
    """Names of its failed nodes, the first failure first."""


@dataclass(frozen=True)
class WholeRun:
    """A run with all its nodes, and its story."""

    run: Run
    """Without its nodes, whose `totals` it has."""
    nodes: str
    """The nodes as JSON, as `NodeResult.to_json` gives them, in the order of their ends."""
    story: tuple[StoryRun, ...]


@dataclass(frozen=True)
class SkippedNodes:
    """The nodes that one cause kept from running."""

    because: str
    """The name of the node that did not pass; empty when the cause was no node."""
    message: str
    models: int
    """Models, seeds and snapshots."""
    tests: int
    names: tuple[str, ...]
    """The first of them, tests last."""

    @property
    def nodes(self) -> int:
        return self.models + self.tests


@dataclass(frozen=True)
class RowsWritten:
    """How many rows a run has written, beside the daily builds before."""

    rows: float
    before: tuple[float, ...]
    """What the last daily builds wrote."""


class RunView:
    """Reads the parts of runs. Every method raises LedgerUnreachable while PostgreSQL is away."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def run(self, run: str) -> Run:
        """The run with everything but its planned names and its nodes, whose `totals` it has.

        Raises NotFound.
        """
        rows = self._rows(RUN_HEAD + "where id = %(run)s", run=run) if RUN_ID.fullmatch(run) else []
        if not rows:
            raise no_run(run)
        [parts] = self._rows(PARTS, run=run)
        steps = [row["step"] for row in self._rows(STEPS, run=run)]
        totals = {row["status"]: row["nodes"] for row in self._rows(TOTALS, run=run)}
        return run_of({**rows[0], **parts, "refresh": steps, "totals": totals})

    def story(self, run: str) -> list[StoryRun]:
        """The run with its root and all reruns of that, the root first, then by time."""
        rows = self._rows(STORY, run=run)
        return [StoryRun(run_of(row), tuple(row["failed_names"])) for row in rows]

    def whole(self, run: str) -> WholeRun:
        """The run with all its nodes, and its story. Raises NotFound."""
        rows = self._rows(WHOLE, run=run) if RUN_ID.fullmatch(run) else []
        nodes = {row["id"]: row.pop("nodes") for row in rows}
        story = [StoryRun(run_of(row), tuple(row["failed_names"])) for row in rows]
        for chapter in story:
            if chapter.run.id == run:
                return WholeRun(chapter.run, nodes[run], tuple(story))
        raise no_run(run)

    def last_statuses(self, run: str, nodes: Sequence[str]) -> dict[str, str]:
        """By node its last status in the run's story; a skipped node was not executed, so that
        counts only without another one."""
        rows = self._rows(LAST_STATUSES, run=run, nodes=list(nodes))
        return {row["node"]: row["status"] for row in rows}

    def passed(self, runs: Sequence[str]) -> tuple[int, int]:
        """How many nodes these runs have together, and how many of them have passed in any."""
        [row] = self._rows(LEFT, runs=list(runs))
        return row["nodes"], row["passed"]

    def timeline(self, run: str) -> Timeline:
        """When each node was executed. Costs most of all here: keep that of a run that is over."""
        [times] = self._rows(TIMES, run=run)
        [starts] = self._rows(STARTS, run=run)
        [plan] = self._rows(READS, run=run)
        if not times["nodes"] or not starts["nodes"]:
            return Timeline()
        begun = dict(zip(starts["nodes"], starts["begun"], strict=True))
        columns = ("nodes", "names", "types", "statuses", "seconds", "ended")
        bars = []
        for node, name, kind, status, seconds, ended in zip(
            *(times[column] for column in columns), strict=True
        ):
            if (start := begun.get(node)) is not None:
                # A refresh records its results at its end: what dbt measured says more.
                end = min(start + seconds, ended) if seconds else ended
                bars.append(Bar(node, name, kind, status, start, max(start, end)))
        return Timeline.of(bars, plan["reads"] or {})

    def failed(self, run: str) -> list[NodeResult]:
        """The failed nodes in the order of their failures, MOST_FAILED at most."""
        return self._results(FAILED, run=run, most=MOST_FAILED)

    def others(self, run: str, after: int, most: int) -> list[NodeResult]:
        """A page of the nodes that passed: those with warnings first, then the slowest."""
        return self._results(OTHERS, run=run, most=most, after=after)

    def skipped(self, run: str) -> list[SkippedNodes]:
        """The skipped nodes by cause, the cause of most of them first."""
        found: dict[tuple[str, str], SkippedNodes] = {}
        rows = self._rows(SKIPPED, run=run, most=MOST_NAMES)
        for row in sorted(rows, key=lambda row: row["tests"]):
            cause = (row["because"], row["message"])
            group = found.get(cause) or SkippedNodes(*cause, 0, 0, ())
            found[cause] = replace(
                group,
                models=group.models + (0 if row["tests"] else row["nodes"]),
                tests=group.tests + (row["nodes"] if row["tests"] else 0),
                names=(*group.names, *row["names"])[:MOST_NAMES],
            )
        return sorted(found.values(), key=lambda group: -group.nodes)

    def rows_written(self, run: Run) -> RowsWritten | None:
        """What a run has written, and the daily builds before it; None where it wrote nothing."""
        found = self._rows(ROWS, run=run.id, before=run.asked_at, days=DAYS)
        this = [row["rows"] for row in found if row["this"]]
        if not this:
            return None
        return RowsWritten(this[0], tuple(row["rows"] for row in found if not row["this"]))

    def callers(self) -> list[str]:
        """Who has asked for the last thousand runs, by name."""
        rows = self._rows(
            "select distinct caller from ("
            " select caller from ledger.run order by asked_at desc limit 1000"
            ") as last order by caller"
        )
        return [row["caller"] for row in rows]

    def _results(self, query: str, **values: object) -> list[NodeResult]:
        rows = self._rows(query, **values)
        return [NodeResult.from_json(row["result"]) for row in rows]

    def _rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        return self._ledger.rows(query, values)
