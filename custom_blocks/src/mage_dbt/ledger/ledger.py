"""Reads and writes the ledger. Rows are only added."""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Json, Jsonb
from psycopg_pool import ConnectionPool, PoolTimeout

from mage_dbt.base.tool_command import tool_command
from mage_dbt.errors import LedgerUnreachable, NotFound, RequestError
from mage_dbt.ledger import run_node
from mage_dbt.ledger.listing import RunFilter
from mage_dbt.ledger.run_node import RunNode
from mage_dbt.ledger.sql import (
    DISCARDED,
    FINAL_STATES,
    HEAD,
    OF_PLAN,
    RESULT,
    RUN_HEAD,
    STORY_IDS,
    UNFINISHED,
    keep_storable,
    plan_of,
    steps_of,
)
from mage_dbt.model.failure import failure_of
from mage_dbt.model.plan import Plan, PlannedNode
from mage_dbt.model.request import Request
from mage_dbt.model.run import PASSED, RUN_ID, Event, EventKind, NodeResult, Run, RunState
from mage_dbt.model.status import LastBrokenCommit
from mage_dbt.model.windows import Filled

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
"""How long a caller waits for a connection before LedgerUnreachable."""

ANSWER_SECONDS = 5.0
"""How long a connection has to answer that it is well. A server that hangs keeps it open."""

REFUSED = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded)
"""The errors by which PostgreSQL refuses a value."""

NOT_THERE = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InsufficientPrivilege,
)
"""What PostgreSQL answers to a query on tables that are not there, or look different."""

LONGEST_WORD = 500
"""Characters of a value that is kept of an event which PostgreSQL refuses."""

RECONNECT_SECONDS = 2.0
"""The pool's attempts to connect are at growing intervals, up to minutes. After this long it gives
up, and the next caller makes it try at once. The runner calls every second."""

RUN = f"""
select{HEAD},
    coalesce(results.nodes, '[]'::json) as nodes,
    coalesce(plan.names, '[]'::jsonb) as planned,{OF_PLAN},
    coalesce(steps.refresh, '[]'::jsonb) as refresh
from ledger.run_now{plan_of("run_now.id")}{steps_of("run_now.id")}
left join lateral (
    -- json and not jsonb, which takes four times as long to make: a run may have 15,000 nodes.
    select json_agg(by_time) as nodes
    from (
        select{RESULT}
        from ledger.node_result where node_result.run = run_now.id
        order by node_result.at
    ) as by_time
) as results on true
"""

LAST_DAILY_BUILD_SUCCESS = """
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

# Who follows a run reads on after the last number it saw. So no event of a run may come to light
# with a smaller number than one that was read: whoever adds some waits for who adds others.
INSERT_EVENTS = """
with alone as materialized (
    select pg_advisory_xact_lock(hashtextextended(%(run)s, 0))
)
insert into ledger.event (run, at, kind, data, line)
select %(run)s, at, kind, data, line
from alone cross join rows from (
    json_to_recordset(%(events)s) as (at timestamptz, kind text, data jsonb, line int)
) with ordinality as given (at, kind, data, line, place)
order by place
on conflict do nothing
"""

INSERT_NODES = """
insert into ledger.node_result (
    run, node, at, name, type, status, seconds, rows, message, because, relation, materialized,
    sqlstate, signature
)
select
    %(run)s, node, at, name, type, status, coalesce(seconds, 0), rows, message, because, relation,
    materialized, sqlstate, signature
from json_to_recordset(%(results)s) as given (
    node text, at timestamptz, name text, type text, status text, seconds float8, rows bigint,
    message text, because text, relation text, materialized text, sqlstate text, signature text
)
on conflict (run, node) do nothing
"""

INSERT_COMMIT = """
insert into ledger.commit_event (at, sha, subject, author, state, message, dbt_version)
values (now(), %s, %s, %s, %s, %s, %s)
"""


STORY = (
    STORY_IDS
    + RUN
    + " where run_now.id in (select id from down) order by run_now.asked_at, run_now.id"
)

STORY_HEADS = STORY_IDS + RUN_HEAD + "where id in (select id from down) order by asked_at, id"

IS_FULL_BUILD = """(
    morning is not null or (
        operation = 'build'
        and request -> 'select' = '[]' and request -> 'exclude' = '[]'
        and coalesce(request -> 'models', '[]') = '[]'
        and coalesce(request ->> 'event_time_start', '') = ''
        and request -> 'variables' = '{}'
    )
)"""
"""The same as `Run.is_full_build`."""

LAST_FULL_BUILD = f"""
{RUN_HEAD}
where id = (
    select id from ledger.run where {IS_FULL_BUILD} order by asked_at desc, id desc limit 1
)
"""

LATEST = """
select distinct on (node) node, node_result.name, status, at, run, because, caller
from ledger.node_result
join ledger.run on run.id = node_result.run
where run.id = any(%(runs)s) and node_result.at >= %(since)s
order by node, status = 'skipped', at desc
"""

ASKED_SINCE = f"""
with recursive up as (
    select id as run, follows, request from ledger.run
    where target = %(target)s and id in (
        select run from ledger.node_result where at >= %(since)s
    )
    and not {DISCARDED}
    union all
    select up.run, run.follows, run.request from up join ledger.run on run.id = up.follows
)
select run, request from up where follows is null
"""
"""The request of each run; for a rerun that of its root.

Left out are discarded runs: their results changed nothing that people read.
"""

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
select wanted.node, percentile_cont(0.5) within group (order by last.seconds) as seconds
from unnest(%(nodes)s::text[]) as wanted (node)
cross join lateral (
    select seconds
    from ledger.node_result
    join ledger.run on run.id = node_result.run
    cross join lateral (select coalesce(run.request ->> 'command', '') as text) as command
    where node = wanted.node and status = any(%(passed)s) and run.target = %(target)s
        and run.operation <> 'undo_refresh'
        and command.text !~ '^\s*(dbt\s+)?compile|--empty'
        and (
            node <> all(%(incremental)s)
            or (run.operation = 'full_refresh' or command.text like '%%--full-refresh%%')
                = %(full_refresh)s
        )
    order by at desc
    limit %(last)s
) as last
group by wanted.node
"""

ESTIMATED_FROM = 9
"""The number of results whose median is a node's estimate, so that one outlier does not count."""


@dataclass(frozen=True)
class Outcome:
    """The last result of a node."""

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
    """A run at the time of its request."""

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


EVENTS_AT_ONCE = 1000
"""Events of a run that are added in one transaction, at most."""


@dataclass(frozen=True)
class NewEvent:
    """An event that is to be added to a run."""

    at: datetime
    kind: EventKind
    data: Mapping[str, Any]
    line: int | None = None
    """Of the worker's file, below 0 for what it lacks: an event with one is added at most once,
    however often it comes."""


@dataclass(frozen=True)
class Unrecorded:
    """A run that Mage does not show yet."""

    id: str
    asked_at: datetime
    request: Request


def require_answer(connection: psycopg.Connection[Any]) -> None:
    """Raises OperationalError unless the server answers on the connection soon.

    The pool's own check waits without an end for a server that hangs.
    """
    wire = connection.pgconn
    wire.send_query(b"")
    wire.flush()
    answer = select.poll()  # `select.select` takes no descriptor above 1023
    answer.register(wire.socket, select.POLLIN)
    deadline = time.monotonic() + ANSWER_SECONDS
    while wire.is_busy():
        left = deadline - time.monotonic()
        if left <= 0 or not answer.poll(left * 1_000):
            connection.close()
            raise psycopg.OperationalError(f"no answer within {ANSWER_SECONDS:.0f} s")
        wire.consume_input()
    while (result := wire.get_result()) is not None:
        if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.get_error_message())


class Ledger:
    """The ledger. Every method raises LedgerUnreachable while PostgreSQL is away."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self._pool = ConnectionPool(
            database_url,
            min_size=1,
            max_size=10,
            open=False,
            timeout=CONNECT_SECONDS,
            check=require_answer,
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
    def connection(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """One transaction, for the statements of this room."""
        try:
            with self._pool.connection() as connection:
                yield connection
        except REFUSED:
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise LedgerUnreachable(
                f"PostgreSQL, which holds the ledger, does not answer: {error}".strip(),
                f"It is tried again; `{tool_command('status')}` shows whether it is back.",
            ) from error

    def rows(
        self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[dict[str, Any]]:
        """What a statement of this room returns; without `values` a `%` stands for itself."""
        with self.connection() as connection:
            return connection.execute(query.encode(), values or None).fetchall()

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
        with self.connection() as connection:
            if connection.execute(INSERT_RUN, values).fetchone():
                queued = NewEvent(new.asked_at, EventKind.STATE, {"state": RunState.QUEUED})
                _add_events(connection, new.id, [queued])
                return new.id, True
            found = connection.execute(
                "select id from ledger.run where idempotency_key = %s", [new.key]
            ).fetchone()
            assert found is not None
            return found["id"], False

    def state(self, run: str, state: RunState, detail: str = "") -> None:
        """Adds the run's new state."""
        data = {"state": state, "detail": detail}
        self.event(run, datetime.now(UTC), EventKind.STATE, data)

    def event(
        self,
        run: str,
        at: datetime,
        kind: EventKind,
        data: Mapping[str, Any],
        line: int | None = None,
    ) -> None:
        """Adds one event; with `line` at most once, however often it is called."""
        self.add_events(run, [NewEvent(at, kind, data, line)])

    def add_events(self, run: str, events: Sequence[NewEvent]) -> None:
        """Adds events of one run, in their order and in one transaction.

        When PostgreSQL refuses one, for a number that is too large for example, only its short
        texts are kept: one bad event must not fail its run.
        """
        try:
            with self.connection() as connection:
                _add_events(connection, run, events)
        except REFUSED as error:
            if len(events) > 1:
                for event in events:
                    self.add_events(run, [event])
                return
            [event] = events
            log.exception("run %s: an event (%s) is not kept as it is", run, event.kind)
            kept = {
                name: value
                for name, value in event.data.items()
                if isinstance(value, bool | str) and len(str(value)) <= LONGEST_WORD
            }
            kept["message"] = f"PostgreSQL refuses this event: {error}"
            with self.connection() as connection:
                _add_events(connection, run, [replace(event, data=kept)])

    def events(self, run: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """The run's events after sequence number `after`, oldest first.

        Those of kinds that this version does not know are left out: no client expects them.
        """
        with self.connection() as connection:
            rows = connection.execute(
                "select seq, at, kind, data from ledger.event where run = %s and seq > %s"
                " and kind = any(%s) order by seq limit %s",
                [run, after, list(EventKind), limit],
            ).fetchall()
        return [Event.from_json(row) for row in rows]

    def run(self, run: str) -> Run:
        """Raises NotFound."""
        with self.connection() as connection:
            row = (
                connection.execute(RUN + " where run_now.id = %s", [run]).fetchone()
                if RUN_ID.fullmatch(run)
                else None
            )
        if row is None:
            raise no_run(run)
        return run_of(row)

    def head(self, run: str) -> Run:
        """The run without what grows with its nodes. Raises NotFound."""
        found = self.heads([run]) if RUN_ID.fullmatch(run) else []
        if not found:
            raise no_run(run)
        return found[0]

    def heads(self, runs: Sequence[str]) -> list[Run]:
        """These runs by time, without what grows with their nodes; those that are there."""
        if not runs:
            return []
        query = RUN_HEAD + "where id = any(%s) order by asked_at, id"
        return [run_of(row) for row in self.rows(query, [list(runs)])]

    def run_with_key(self, key: str) -> Run | None:
        with self.connection() as connection:
            row = connection.execute(RUN + " where run_now.idempotency_key = %s", [key]).fetchone()
        return run_of(row) if row else None

    def runs(self, limit: int = 20, mage_run: int | None = None) -> list[Run]:
        """The newest runs first, without their nodes; `mage_run`: of one Mage pipeline run."""
        return self.page(RunFilter(mage_run=mage_run), limit)

    def page(self, wanted: RunFilter, limit: int) -> list[Run]:
        """The newest of the wanted runs, without their nodes.

        Raises RequestError when the run of `before` is not there.
        """
        values = wanted.given() | {"limit": limit}
        with self.connection() as connection:
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
        return [run_of(row) for row in rows]

    def node(self, run: str, wanted: str) -> RunNode:
        """One node of a run, by unique id or name. Raises NotFound, or RequestError for a name
        that several nodes have."""
        values = {"run": run, "node": wanted}
        with self.connection() as connection:
            planned = connection.execute(run_node.PLANNED_AS, values).fetchall()
            results = connection.execute(run_node.RESULTS, values).fetchall()
            if not planned and not results:  # all of them, for the nearest name
                planned = connection.execute(run_node.PLANNED, values).fetchall()
            found = run_node.choose(run, wanted, planned, results)
            began = connection.execute(
                run_node.STARTED, {"run": run, "node": found.node}
            ).fetchone()
        return found.begun(began)

    def unfinished(self) -> list[Run]:
        """Runs without a final state, oldest first."""
        with self.connection() as connection:
            rows = connection.execute(
                RUN + f" where run_now.id = {UNFINISHED} order by asked_at, id"
            ).fetchall()
        return [run_of(row) for row in rows]

    def going_on(self, runs: Collection[str]) -> set[str]:
        """Those of the runs without a final state."""
        with self.connection() as connection:
            rows = connection.execute(
                f"select id from ledger.run_now where id = any(%s) and state not in {FINAL_STATES}",
                [list(runs)],
            ).fetchall()
        return {row["id"] for row in rows}

    def plan(self, run: Run) -> Plan:
        """The run's plan; without nodes when it was never planned."""
        with self.connection() as connection:
            row = connection.execute(
                "select data ->> 'nodes' as nodes from ledger.event"
                " where run = %s and kind = 'plan' order by seq desc limit 1",
                [run.id],
            ).fetchone()
        return Plan(run.commit, PlannedNode.all_from_json(row["nodes"]) if row else ())

    def forget(self, before: datetime) -> int:
        """Removes finished runs of before that time with all their rows. Returns their number."""
        with self.connection() as connection:
            row = connection.execute("select ledger.forget(%s) as runs", [before]).fetchone()
        assert row is not None
        return int(row["runs"])

    def last_broken_commit(self) -> LastBrokenCommit | None:
        """The commit that was last found broken, whether or not it was repaired since."""
        with self.connection() as connection:
            row = connection.execute(
                "select sha, subject, author, message, at from ledger.commit_event"
                " where state = 'broken' order by seq desc limit 1"
            ).fetchone()
        return LastBrokenCommit(**row) if row else None

    def select(self, query: str, values: Sequence[Any]) -> list[dict[str, Any]] | None:
        """Rows of a query on somebody else's tables in this database; None when a table or a
        column of it is not there, or not for this role to read."""
        try:
            with self.connection() as connection:
                return connection.execute(query.encode(), values).fetchall()
        except NOT_THERE:
            return None

    def answers(self, seconds: float) -> bool:
        """Whether PostgreSQL answers within that time."""
        try:
            with self._pool.connection(timeout=seconds) as connection:
                connection.execute("select 1")
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout):
            return False
        return True

    def last_daily_build_success(self) -> datetime | None:
        """When a daily build, or a rerun of one, last ended with every node passed."""
        with self.connection() as connection:
            row = connection.execute(LAST_DAILY_BUILD_SUCCESS).fetchone()
        return row["finished_at"] if row else None

    def built_since(self, node: str, since: datetime, without: str) -> list[datetime]:
        """When runs have built the node since then, oldest first; `without` is no such run."""
        with self.connection() as connection:
            rows = connection.execute(
                "select at from ledger.node_result where node = %s and at > %s and run <> %s"
                " and status = any(%s) order by at",
                [node, since, without, sorted(PASSED)],
            ).fetchall()
        return [row["at"] for row in rows]

    def decision(self, run: str, by: str, decision: str) -> None:
        """Keeps what somebody has decided on a run: `swap` or `cancel`."""
        text = f"Decision by {by}: {decision}."
        data = {"level": "info", "text": text, "decision": decision, "by": by}
        self.event(run, datetime.now(UTC), EventKind.LOG, data)

    def swap_decided_by(self, run: str) -> str:
        """Who was the first to decide that the run swaps; empty while nobody has."""
        with self.connection() as connection:
            row = connection.execute(
                "select data ->> 'by' as by from ledger.event where run = %s and (kind = %s"
                " or kind = %s and data ->> 'decision' = 'swap') order by seq limit 1",
                [run, EventKind.SWAP_ASKED, EventKind.LOG],
            ).fetchone()
        return (row["by"] or "") if row else ""

    def ask_to_swap(self, run: str, by: str) -> None:
        """Asks the runner that executes the run, perhaps another, to swap what it holds."""
        self.event(run, datetime.now(UTC), EventKind.SWAP_ASKED, {"by": by})

    def asked_to_swap(self, runs: Sequence[str]) -> dict[str, str]:
        """Those of the runs that are to swap what they hold, and who asked for it."""
        return self._asked(EventKind.SWAP_ASKED, runs)

    def ask_to_cancel(self, run: str, by: str) -> None:
        """Asks the runner that executes the run, perhaps another, to cancel it."""
        self.event(run, datetime.now(UTC), EventKind.CANCEL_ASKED, {"by": by})

    def asked_to_cancel(self, runs: Sequence[str]) -> dict[str, str]:
        """Those of the runs that are to be cancelled, and by whom."""
        return self._asked(EventKind.CANCEL_ASKED, runs)

    def _asked(self, kind: EventKind, runs: Sequence[str]) -> dict[str, str]:
        with self.connection() as connection:
            rows = connection.execute(
                "select run, min(data ->> 'by') as by from ledger.event"
                " where run = any(%s) and kind = %s group by run",
                [list(runs), kind],
            ).fetchall()
        return {row["run"]: row["by"] for row in rows}

    def commit(
        self, sha: str, subject: str, author: str, state: str, message: str, dbt: str
    ) -> None:
        """A commit became ready, or turned out broken."""
        with self.connection() as connection:
            connection.execute(INSERT_COMMIT, [sha, subject, author, state, message, dbt])

    def without_mage_run(self, asked_since: datetime) -> list[Unrecorded]:
        """Runs of the API or the tool without a Mage pipeline run, and without a note that they get
        none, oldest first."""
        with self.connection() as connection:
            rows = connection.execute(
                "select id, asked_at, request from ledger.run"
                " where asked_at >= %s and cause in ('api', 'tool', 'page') and mage_run is null"
                " and not exists ("
                " select from ledger.event where event.run = run.id and kind = 'mage')"
                " order by asked_at, id",
                [asked_since],
            ).fetchall()
        return [
            Unrecorded(row["id"], row["asked_at"], Request.from_json(row["request"]))
            for row in rows
        ]

    def has_mage_run(self, run: str, number: int) -> None:
        """Mage shows the run as this pipeline run. Only the first such event counts."""
        self.event(run, datetime.now(UTC), EventKind.MAGE, {"mage_run": number})

    def has_no_mage_run(self, run: str, message: str) -> None:
        """Mage does not show the run, for this reason, and nobody tries again."""
        data = {"mage_run": None, "message": message}
        self.event(run, datetime.now(UTC), EventKind.MAGE, data)

    def mage_runs(self, runs: Sequence[str]) -> dict[str, int]:
        """The Mage pipeline runs of `runs`, where they have one."""
        with self.connection() as connection:
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
        """The run with its root and all reruns of that, the root first, then by time."""
        with self.connection() as connection:
            rows = connection.execute(STORY, {"run": run}).fetchall()
        return [run_of(row) for row in rows]

    def story_heads(self, run: str) -> list[Run]:
        """The runs of its story without what grows with their nodes, in the same order."""
        return [run_of(row) for row in self.rows(STORY_HEADS, {"run": run})]

    def last_full_build(self) -> Run | None:
        """The newest full build, whoever began it; no reruns. Without what grows with its nodes."""
        rows = self.rows(LAST_FULL_BUILD)
        return run_of(rows[0]) if rows else None

    def asked_since(self, target: str, since: datetime) -> dict[str, Request]:
        """By run on the target with results since then, its request; for a rerun its root's."""
        with self.connection() as connection:
            rows = connection.execute(ASKED_SINCE, {"target": target, "since": since}).fetchall()
        return {row["run"]: Request.from_json(row["request"]) for row in rows}

    def latest(self, runs: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """The last result of each node since then in any of these runs.

        A skipped node did nothing, so it counts only without another result.
        """
        with self.connection() as connection:
            rows = connection.execute(LATEST, {"runs": list(runs), "since": since}).fetchall()
        return {row["node"]: Outcome(**row) for row in rows}

    def filled(self, runs: Sequence[str], nodes: Sequence[str]) -> dict[str, list[Filled]]:
        """By node, the windows that its batches filled and failed to fill, oldest first.

        Only nodes with batches.
        """
        values = {"runs": list(runs), "nodes": list(nodes)}
        with self.connection() as connection:
            rows = connection.execute(FILLED, values).fetchall()
        found: dict[str, list[Filled]] = {}
        for row in sorted(rows, key=lambda row: row["at"]):
            batches = Filled.from_json(row["batches"])
            batches = replace(batches, cut_off=row["kind"] == "node_started")
            found.setdefault(row["node"], []).append(batches)
        return found

    def estimates(
        self, nodes: Sequence[str], incremental: Sequence[str], target: str, full_refresh: bool
    ) -> dict[str, float]:
        """By node, the median seconds of its last passed results.

        Only runs that built the node count; for an `incremental` one only those that built the
        same rows: all of them with `full_refresh`, else the new ones.
        """
        values = {
            "nodes": list(nodes),
            "incremental": list(incremental),
            "passed": sorted(PASSED),
            "target": target,
            "full_refresh": full_refresh,
            "last": ESTIMATED_FROM,
        }
        with self.connection() as connection:
            rows = connection.execute(ESTIMATES, values).fetchall()
        return {row["node"]: float(row["seconds"]) for row in rows}

    def remember_plan(self, plan: Plan) -> None:
        """Keeps the plan under its digest."""
        nodes = [[node.node, node.name] for node in plan.nodes]
        with self.connection() as connection:
            connection.execute(
                "insert into ledger.plan (digest, commit, what, nodes) values (%s, %s, %s, %s)"
                " on conflict (digest) do nothing",
                [plan.digest, plan.commit, Jsonb(plan.what()), Jsonb(nodes)],
            )

    def seen_plan(self, digest: str) -> SeenPlan | None:
        """The plan with this digest; None when nobody has looked at it."""
        with self.connection() as connection:
            row = connection.execute(
                "select commit, what, nodes from ledger.plan where digest = %s", [digest]
            ).fetchone()
        return SeenPlan(row["commit"], row["what"], dict(row["nodes"])) if row else None


def _add_events(
    connection: psycopg.Connection[dict[str, Any]], run: str, events: Sequence[NewEvent]
) -> None:
    given = [
        {"at": event.at.isoformat(), "kind": event.kind, "data": event.data, "line": event.line}
        for event in events
    ]
    connection.execute(INSERT_EVENTS, {"run": run, "events": Json(given)})
    results = [_result(event) for event in events if event.kind is EventKind.NODE_FINISHED]
    if results:
        connection.execute(INSERT_NODES, {"run": run, "results": Json(results)})


def _result(event: NewEvent) -> dict[str, Any]:
    """The row of a node's result. A node's first result counts, so the row of an event that was
    added before changes nothing."""
    result = NodeResult.from_json(event.data)
    if result.failed:
        failure = failure_of(result, str(event.data.get("test", "")))
        result = replace(result, signature=failure.signature)
    return result.to_json() | {"at": event.at.isoformat()}


def no_run(run: str) -> NotFound:
    """The error of a run that is not there."""
    return NotFound(
        f"No run {run[:100]!r} in the ledger.",
        f"`{tool_command('runs')}` lists the last ones.",
    )


def run_of(row: Mapping[str, Any]) -> Run:
    """The run of a row, whatever it has of the run beside its head."""
    return Run.from_json({**row, "morning": row["morning"] and row["morning"].isoformat()})
