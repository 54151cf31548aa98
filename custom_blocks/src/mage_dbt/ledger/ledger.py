"""Reading and writing the ledger. Rows are only ever added."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool, PoolTimeout

from mage_dbt.errors import LedgerUnreachable, NotFound, RequestError
from mage_dbt.ledger import run_node
from mage_dbt.ledger.listing import RunFilter
from mage_dbt.ledger.run_node import RunNode
from mage_dbt.ledger.text import keep_storable
from mage_dbt.parse_warnings import ParseWarnings
from mage_dbt.plan import Plan, PlannedNode
from mage_dbt.request import Request
from mage_dbt.run import PASSED, RUN_ID, Event, EventKind, NodeResult, Run, RunState
from mage_dbt.windows import Filled

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
"""How long a caller waits for a connection before it is told that PostgreSQL does not answer."""

REFUSED = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded)
"""PostgreSQL answers, and does not take a value."""

LONGEST_WORD = 500
"""Characters of an id, a name or a status in an event that PostgreSQL does not take."""

RECONNECT_SECONDS = 2.0
"""The pool's tries to connect are further and further apart, up to minutes; after this long it
gives up, and whoever asks next has it try at once. The runner asks every second."""

RUN = """
select
    run_now.*,
    coalesce(results.nodes, '[]'::jsonb) as nodes,
    plan.notes,
    plan.parse_warnings,
    coalesce(plan.counted, jsonb_array_length(run_now.planned)) as planned_nodes
from ledger.run_now
left join lateral (
    select
        data -> 'notes' as notes,
        data -> 'parse_warnings' as parse_warnings,
        (data -> 'counted')::int as counted
    from ledger.event
    where event.run = run_now.id and kind = 'plan' order by seq desc limit 1
) as plan on true
left join lateral (
    select jsonb_agg(to_jsonb(node_result) - 'run' - 'at' order by node_result.at) as nodes
    from ledger.node_result where node_result.run = run_now.id
) as results on true
"""

LAST_MORNING_SUCCESS = """
with recursive story as (
    select id from ledger.run where morning is not null
    union
    select run.id from ledger.run join story on run.follows = story.id
)
select finished_at from ledger.run_now
where state = 'Success' and id in (select id from story)
order by asked_at desc limit 1
"""

INSERT_RUN = """
insert into ledger.run (
    id, asked_at, idempotency_key, operation, cause, caller, why, request, commit, commit_subject,
    target, dbt_version, mage_run, follows, morning, late_seconds
) values (
    %(id)s, %(asked_at)s, %(key)s, %(operation)s, %(cause)s, %(caller)s, %(why)s, %(request)s,
    %(commit)s, %(commit_subject)s, %(target)s, %(dbt_version)s, %(mage_run)s, %(follows)s,
    %(morning)s, %(late_seconds)s
)
on conflict (idempotency_key) do nothing
returning id
"""

INSERT_EVENT = """
insert into ledger.event (run, at, kind, data, line)
values (%(run)s, %(at)s, %(kind)s, %(data)s, %(line)s)
on conflict do nothing
returning seq
"""

INSERT_NODE = """
insert into ledger.node_result (
    run, node, at, name, type, status, seconds, rows, message, because, relation, materialized
) values (
    %(run)s, %(node)s, %(at)s, %(name)s, %(type)s, %(status)s, %(seconds)s, %(rows)s, %(message)s,
    %(because)s, %(relation)s, %(materialized)s
)
on conflict (run, node) do nothing
"""

INSERT_MAGE_EVENT = """
insert into ledger.event (run, at, kind, data) values (%s, now(), %s, %s)
on conflict do nothing
"""

INSERT_COMMIT = """
insert into ledger.commit_event (at, sha, subject, author, state, message, dbt_version)
values (now(), %s, %s, %s, %s, %s, %s)
"""


STORY = (
    """
with recursive up as (
    select id, follows from ledger.run where id = %(run)s
    union
    select run.id, run.follows from ledger.run join up on run.id = up.follows
), down as (
    select id from up where follows is null
    union
    select run.id from ledger.run join down on run.follows = down.id
)
"""
    + RUN
    + " where run_now.id in (select id from down) order by run_now.asked_at, run_now.id"
)

LAST_FULL_BUILD = """
where run_now.id = (
    select id from ledger.run
    where morning is not null or (
        operation = 'build'
        and request -> 'select' = '[]' and request -> 'exclude' = '[]'
        and coalesce(request -> 'models', '[]') = '[]'
        and coalesce(request ->> 'event_time_start', '') = ''
        and request -> 'variables' = '{}'
    )
    order by asked_at desc, id desc
    limit 1
)
"""
"""The same as `Run.builds_everything` tells."""

LATEST = """
select distinct on (node) node, node_result.name, status, at, run, because, caller
from ledger.node_result
join ledger.run on run.id = node_result.run
where run.id = any(%(runs)s) and node_result.at >= %(since)s
order by node, status = 'skipped', at desc
"""

ASKED_SINCE = """
with recursive up as (
    select id as run, follows, request from ledger.run
    where target = %(target)s and id in (
        select run from ledger.node_result where at >= %(since)s
    )
    union all
    select up.run, run.follows, run.request from up join ledger.run on run.id = up.follows
)
select run, request from up where follows is null
"""
"""Of each run what was asked for; of a rerun what was asked for at first."""

FILLED = """
select distinct on (run, node) run, data ->> 'node' as node, at, kind, data -> 'batches' as batches
from ledger.event
where run in (
    select run from ledger.node_result where run = any(%(runs)s) and node = any(%(nodes)s)
) and kind in ('node_started', 'node_finished')
    and data ->> 'node' = any(%(nodes)s) and data ? 'batches'
order by run, node, seq desc
"""

ESTIMATES = r"""
select node, percentile_cont(0.5) within group (order by seconds) as seconds
from (
    select node, seconds, row_number() over (partition by node order by at desc) as place
    from ledger.node_result
    join ledger.run on run.id = node_result.run
    cross join lateral (select coalesce(run.request ->> 'command', '') as text) as command
    where node = any(%(nodes)s) and status = any(%(passed)s) and run.target = %(target)s
        and command.text !~ '^\s*(dbt\s+)?compile|--empty'
        and (
            node <> all(%(incremental)s)
            or (run.operation = 'full_refresh' or command.text like '%%--full-refresh%%')
                = %(full_refresh)s
        )
) as last
where place <= %(last)s
group by node
"""

ESTIMATED_FROM = 9
"""Results of a node whose median is its estimate: enough that one odd one does not count."""


@dataclass(frozen=True)
class Outcome:
    """The last thing that is known of a node."""

    node: str
    name: str
    status: str
    at: datetime
    run: str
    because: str
    caller: str


@dataclass(frozen=True)
class SeenPlan:
    """A plan that somebody has looked at."""

    commit: str
    what: Mapping[str, Any]
    nodes: Mapping[str, str]
    """Unique ids, in order, with names."""


@dataclass(frozen=True)
class NewRun:
    """What is known of a run when it is asked for."""

    id: str
    asked_at: datetime
    request: Request
    key: str | None
    commit: str
    commit_subject: str
    target: str
    dbt_version: str
    follows: str | None
    morning: date | None
    late_seconds: int


@dataclass(frozen=True)
class Unrecorded:
    """A run that is not seen in Mage yet."""

    id: str
    asked_at: datetime
    request: Request


class Ledger:
    """One runner's way to the ledger. Every method raises LedgerUnreachable while it is away."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self._pool = ConnectionPool(
            database_url,
            min_size=1,
            max_size=10,
            open=False,
            timeout=CONNECT_SECONDS,
            check=ConnectionPool.check_connection,
            configure=keep_storable,
            reconnect_timeout=RECONNECT_SECONDS,
            kwargs={
                "row_factory": dict_row,
                "application_name": "mage-dbt runner",
                "connect_timeout": 5,
            },
        )

    def open(self) -> None:
        self._pool.open()

    def close(self) -> None:
        self._pool.close()

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        try:
            with self._pool.connection() as connection:
                yield connection
        except REFUSED:
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise LedgerUnreachable(
                f"PostgreSQL, which holds the ledger, does not answer: {error}".strip(),
                "It is tried again; `mage-dbt status` shows whether it is back.",
            ) from error

    def add_run(self, new: NewRun) -> tuple[str, bool]:
        """Adds the run, Queued, unless its key is taken: then gives the run that has the key.

        Returns the run's id, and whether it was added. One statement decides, so any number of
        callers with one key at once get one run.
        """
        request = new.request
        values = {
            "id": new.id,
            "asked_at": new.asked_at,
            "key": new.key,
            "operation": request.operation,
            "cause": request.cause,
            "caller": request.caller,
            "why": request.why,
            "request": Jsonb(request.to_json()),
            "commit": new.commit,
            "commit_subject": new.commit_subject,
            "target": new.target,
            "dbt_version": new.dbt_version,
            "mage_run": request.mage_run,
            "follows": new.follows,
            "morning": new.morning,
            "late_seconds": new.late_seconds,
        }
        with self._connection() as connection:
            if connection.execute(INSERT_RUN, values).fetchone():
                self._event(
                    connection,
                    new.id,
                    new.asked_at,
                    EventKind.STATE,
                    {"state": RunState.QUEUED},
                    None,
                )
                return new.id, True
            found = connection.execute(
                "select id from ledger.run where idempotency_key = %s", [new.key]
            ).fetchone()
            assert found is not None
            return found["id"], False

    def state(self, run: str, state: RunState, detail: str = "") -> None:
        """The run is in `state` from now on."""
        told = {"state": state, "detail": detail}
        self.event(run, datetime.now(UTC), EventKind.STATE, told)

    def event(
        self, run: str, at: datetime, kind: str, data: Mapping[str, Any], line: int | None = None
    ) -> None:
        """Adds one event of an EventKind; with `line`, at most once however often it is called.

        One that PostgreSQL does not take (a number that is too large, say) is kept without what it
        says beyond its words: that is this event's trouble, and not its run's.
        """
        try:
            with self._connection() as connection:
                self._event(connection, run, at, kind, data, line)
        except REFUSED as error:
            log.exception("run %s: an event (%s) is not kept as it is", run, kind)
            kept = {
                name: value
                for name, value in data.items()
                if isinstance(value, bool | str) and len(str(value)) <= LONGEST_WORD
            }
            kept["message"] = f"PostgreSQL does not take what was told of this: {error}"
            with self._connection() as connection:
                self._event(connection, run, at, kind, kept, line)

    def _event(
        self,
        connection: psycopg.Connection[dict[str, Any]],
        run: str,
        at: datetime,
        kind: str,
        data: Mapping[str, Any],
        line: int | None,
    ) -> None:
        values = {
            "run": run,
            "at": at,
            "kind": EventKind(kind),
            "data": Jsonb(dict(data)),
            "line": line,
        }
        added = connection.execute(INSERT_EVENT, values).fetchone()
        if added and kind == EventKind.NODE_FINISHED:
            result = NodeResult.from_json(data)
            connection.execute(INSERT_NODE, result.to_json() | {"run": run, "at": at})

    def events(self, run: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """The run's events after sequence number `after`, oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "select seq, at, kind, data from ledger.event where run = %s and seq > %s"
                " order by seq limit %s",
                [run, after, limit],
            ).fetchall()
        return [Event(**row) for row in rows]

    def run(self, run: str) -> Run:
        """Raises NotFound."""
        with self._connection() as connection:
            row = (
                connection.execute(RUN + " where run_now.id = %s", [run]).fetchone()
                if RUN_ID.fullmatch(run)
                else None
            )
        if row is None:
            raise NotFound(
                f"No run {run[:100]!r} in the ledger.", "`mage-dbt runs` lists the last ones."
            )
        return _run(row)

    def run_with_key(self, key: str) -> Run | None:
        with self._connection() as connection:
            row = connection.execute(RUN + " where run_now.idempotency_key = %s", [key]).fetchone()
        return _run(row) if row else None

    def runs(self, limit: int = 20, mage_run: int | None = None) -> list[Run]:
        """The newest runs first, without their nodes; `mage_run`: of one Mage pipeline run."""
        return self.page(RunFilter(mage_run=mage_run), limit)

    def page(self, wanted: RunFilter, limit: int) -> list[Run]:
        """The newest of the wanted runs, without their nodes.

        Raises RequestError when the run that it is to go on after is not there.
        """
        values = wanted.given() | {"limit": limit}
        with self._connection() as connection:
            if wanted.before is not None:
                row = connection.execute(
                    "select asked_at from ledger.run where id = %s", [wanted.before]
                ).fetchone()
                if row is None:
                    raise RequestError(
                        f"`before`: there is no run {wanted.before}.", "Begin with the newest."
                    )
                values["before_at"] = row["asked_at"]
            rows = connection.execute(wanted.sql().encode(), values).fetchall()
        return [_run({**row, "planned": (), "warnings": (), "nodes": ()}) for row in rows]

    def node(self, run: str, wanted: str) -> RunNode:
        """One node of a run, by unique id or name. Raises NotFound, or RequestError for a name
        that several nodes have."""
        values = {"run": run, "node": wanted}
        with self._connection() as connection:
            planned = connection.execute(run_node.PLANNED, values).fetchall()
            results = connection.execute(run_node.RESULTS, values).fetchall()
            found = run_node.choose(run, wanted, planned, results)
            began = connection.execute(
                run_node.STARTED, {"run": run, "node": found.node}
            ).fetchone()
        return found.begun(began)

    def unfinished(self) -> list[Run]:
        """Runs without a final state, oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                RUN + " where run_now.state not in ('Success', 'Error', 'Cancelled')"
                " order by asked_at, id"
            ).fetchall()
        return [_run(row) for row in rows]

    def going_on(self, runs: Collection[str]) -> set[str]:
        """Which of these runs have no final state."""
        with self._connection() as connection:
            rows = connection.execute(
                "select id from ledger.run_now where id = any(%s)"
                " and state not in ('Success', 'Error', 'Cancelled')",
                [list(runs)],
            ).fetchall()
        return {row["id"] for row in rows}

    def plan(self, run: Run) -> Plan:
        """What the run was planned to do; without nodes when it never got as far."""
        with self._connection() as connection:
            row = connection.execute(
                "select data -> 'nodes' as nodes from ledger.event"
                " where run = %s and kind = 'plan' order by seq desc limit 1",
                [run.id],
            ).fetchone()
        return Plan(
            run.commit, tuple(PlannedNode.from_json(one) for one in row["nodes"]) if row else ()
        )

    def forget(self, before: datetime) -> int:
        """Removes finished runs asked for before that time, with all kept of them; how many."""
        with self._connection() as connection:
            row = connection.execute("select ledger.forget(%s) as runs", [before]).fetchone()
        assert row is not None
        return int(row["runs"])

    def last_broken_commit(self) -> dict[str, Any] | None:
        """The commit that was last found broken, whether or not it was repaired since."""
        with self._connection() as connection:
            row = connection.execute(
                "select sha, subject, author, message, at from ledger.commit_event"
                " where state = 'broken' order by seq desc limit 1"
            ).fetchone()
        return dict(row) | {"at": row["at"].isoformat()} if row else None

    def mage_pipeline(self, mage_run: int) -> str | None:
        """The pipeline of a Mage pipeline run, from Mage's own table; None when it is not there."""
        try:
            with self._connection() as connection:
                row = connection.execute(
                    "select pipeline_uuid from mage.pipeline_run where id = %s", [mage_run]
                ).fetchone()
        except psycopg.errors.UndefinedTable:
            return None  # Mage has not made its database yet
        return row["pipeline_uuid"] if row else None

    def answers(self, seconds: float) -> bool:
        """Whether PostgreSQL answers within that time."""
        try:
            with self._pool.connection(timeout=seconds) as connection:
                connection.execute("select 1")
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout):
            return False
        return True

    def last_morning_success(self) -> datetime | None:
        """When a morning's build, or a rerun of one, last ended with every node passed."""
        with self._connection() as connection:
            row = connection.execute(LAST_MORNING_SUCCESS).fetchone()
        return row["finished_at"] if row else None

    def mage_cancelled(self, mage_runs: Sequence[int]) -> dict[int, str]:
        """Which of these Mage pipeline runs were cancelled, and by whom where Mage knows it (with a
        login on), from Mage's own table."""
        with self._connection() as connection:
            rows = connection.execute(
                "select id, coalesce(variables ->> 'cancelled_by', '') as by"
                " from mage.pipeline_run where id = any(%s)"
                " and lower(status::text) = 'cancelled'",
                [list(mage_runs)],
            ).fetchall()
        return {row["id"]: row["by"] for row in rows}

    def ask_to_cancel(self, run: str, by: str) -> None:
        """For the runner that carries the run, which may be another one."""
        self.event(run, datetime.now(UTC), EventKind.CANCEL_ASKED, {"by": by})

    def asked_to_cancel(self, runs: Sequence[str]) -> dict[str, str]:
        """Which of these runs somebody asked another runner to cancel, and who."""
        with self._connection() as connection:
            rows = connection.execute(
                "select run, min(data ->> 'by') as by from ledger.event"
                " where run = any(%s) and kind = 'cancel_asked' group by run",
                [list(runs)],
            ).fetchall()
        return {row["run"]: row["by"] for row in rows}

    def commit(
        self, sha: str, subject: str, author: str, state: str, message: str, dbt: str
    ) -> None:
        """A commit became ready, or turned out broken."""
        with self._connection() as connection:
            connection.execute(INSERT_COMMIT, [sha, subject, author, state, message, dbt])

    def without_mage_run(self, asked_since: datetime) -> list[Unrecorded]:
        """Runs asked for by the API or the tool that have no Mage pipeline run yet and no note that
        they get none, oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "select id, asked_at, request from ledger.run"
                " where asked_at >= %s and cause in ('api', 'tool') and mage_run is null"
                " and not exists ("
                " select from ledger.event where event.run = run.id and kind = 'mage')"
                " order by asked_at, id",
                [asked_since],
            ).fetchall()
        return [
            Unrecorded(row["id"], row["asked_at"], Request.parse(row["request"])) for row in rows
        ]

    def mage_run_made_for(self, run: str, pipeline: str, since: datetime) -> int | None:
        """The first Mage pipeline run that carries this run's id, from Mage's own table."""
        with self._connection() as connection:
            row = connection.execute(
                "select id from mage.pipeline_run"
                " where pipeline_uuid = %s and execution_date >= %s and variables ->> 'run' = %s"
                " order by id limit 1",
                [pipeline, since, run],
            ).fetchone()
        return row["id"] if row else None

    def has_mage_run(self, run: str, number: int) -> None:
        """The run is seen in Mage as this pipeline run. Only the first word on it counts."""
        with self._connection() as connection:
            connection.execute(
                INSERT_MAGE_EVENT, [run, EventKind.MAGE, Jsonb({"mage_run": number})]
            )

    def has_no_mage_run(self, run: str, message: str) -> None:
        """The run is not seen in Mage, for this reason, and it is no longer tried."""
        with self._connection() as connection:
            connection.execute(
                INSERT_MAGE_EVENT,
                [run, EventKind.MAGE, Jsonb({"mage_run": None, "message": message})],
            )

    def mage_runs(self, runs: Sequence[str]) -> dict[str, int]:
        """The Mage pipeline runs of those of `runs` that have one."""
        with self._connection() as connection:
            rows = connection.execute(
                "select id, mage_run from ledger.run where id = any(%(runs)s)"
                " and mage_run is not null union all"
                " select run, (data ->> 'mage_run')::bigint from ledger.event"
                " where run = any(%(runs)s) and kind = 'mage'"
                " and data ->> 'mage_run' is not null",
                {"runs": list(runs)},
            ).fetchall()
        return {row["id"]: row["mage_run"] for row in rows}

    def story(self, run: str) -> list[Run]:
        """The run, what it follows, and all that follows those: oldest first, the root first."""
        with self._connection() as connection:
            rows = connection.execute(STORY, {"run": run}).fetchall()
        return [_run(row) for row in rows]

    def last_full_build(self) -> Run | None:
        """The newest build of everything, whoever began it; reruns are not counted."""
        with self._connection() as connection:
            row = connection.execute(RUN + LAST_FULL_BUILD).fetchone()
        return _run(row) if row else None

    def asked_since(self, target: str, since: datetime) -> dict[str, Mapping[str, Any]]:
        """By run on the target with results since then, its request; of a rerun the first run's."""
        with self._connection() as connection:
            rows = connection.execute(ASKED_SINCE, {"target": target, "since": since}).fetchall()
        return {row["run"]: row["request"] for row in rows}

    def latest(self, runs: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """By node, its last result since then in any of these runs.

        A skipped node did nothing, so that counts only for one that has no other result.
        """
        with self._connection() as connection:
            rows = connection.execute(LATEST, {"runs": list(runs), "since": since}).fetchall()
        return {row["node"]: Outcome(**row) for row in rows}

    def filled(self, runs: Sequence[str], nodes: Sequence[str]) -> dict[str, list[Filled]]:
        """By node, what its batches in these runs filled and did not, oldest first; only of nodes
        that had batches."""
        values = {"runs": list(runs), "nodes": list(nodes)}
        with self._connection() as connection:
            rows = connection.execute(FILLED, values).fetchall()
        found: dict[str, list[Filled]] = {}
        for row in sorted(rows, key=lambda row: row["at"]):
            one = Filled.from_json(row["batches"])
            one = replace(one, cut_off=row["kind"] == "node_started")
            found.setdefault(row["node"], []).append(one)
        return found

    def estimates(
        self, nodes: Sequence[str], incremental: Sequence[str], target: str, full_refresh: bool
    ) -> dict[str, float]:
        """By node, the median seconds of its last results that passed.

        Only of runs that built it in full; of an `incremental` one only of those that did the
        same: all its rows, or the new ones.
        """
        values = {
            "nodes": list(nodes),
            "incremental": list(incremental),
            "passed": sorted(PASSED),
            "target": target,
            "full_refresh": full_refresh,
            "last": ESTIMATED_FROM,
        }
        with self._connection() as connection:
            rows = connection.execute(ESTIMATES, values).fetchall()
        return {row["node"]: float(row["seconds"]) for row in rows}

    def remember_plan(self, plan: Plan) -> None:
        """Keeps what the plan's digest stands for."""
        nodes = [[one.node, one.name] for one in plan.nodes]
        with self._connection() as connection:
            connection.execute(
                "insert into ledger.plan (digest, commit, what, nodes) values (%s, %s, %s, %s)"
                " on conflict (digest) do nothing",
                [plan.digest, plan.commit, Jsonb(plan.what()), Jsonb(nodes)],
            )

    def seen_plan(self, digest: str) -> SeenPlan | None:
        """The plan with this digest, when somebody has looked at it."""
        with self._connection() as connection:
            row = connection.execute(
                "select commit, what, nodes from ledger.plan where digest = %s", [digest]
            ).fetchone()
        return SeenPlan(row["commit"], row["what"], dict(row["nodes"])) if row else None


def _run(row: Mapping[str, Any]) -> Run:
    return Run(
        id=row["id"],
        operation=row["operation"],
        state=RunState(row["state"]),
        detail=row["detail"],
        asked_at=row["asked_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        request=row["request"],
        commit=row["commit"],
        commit_subject=row["commit_subject"],
        target=row["target"],
        dbt_version=row["dbt_version"],
        cause=row["cause"],
        caller=row["caller"],
        why=row["why"],
        mage_run=row["mage_run"],
        follows=row["follows"],
        morning=row["morning"].isoformat() if row["morning"] else None,
        late_seconds=row["late_seconds"],
        planned=tuple(row["planned"]),
        warnings=tuple(row["warnings"]),
        notes=tuple(row.get("notes") or ()),
        parse_warnings=(
            ParseWarnings.from_json(row["parse_warnings"])
            if row.get("parse_warnings")
            else ParseWarnings()
        ),
        nodes=tuple(NodeResult.from_json(one) for one in row["nodes"]),
        totals=row.get("totals", {}),
        planned_nodes=row.get("planned_nodes", 0),
    )
