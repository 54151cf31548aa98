"""What the statements and connections of the ledger have in common."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.json import set_json_dumps
from psycopg.types.string import StrDumperUnknown

from mage_dbt.base.text import storable, storable_json
from mage_dbt.model.run import FINAL, PASSED

FINAL_STATES = f"({', '.join(repr(str(state)) for state in FINAL)})"
"""The states that a run ends in, to stand after `in`."""

UNFINISHED = f"""any (array(
    select run.id from ledger.run where not exists (
        select from ledger.event
        where event.run = run.id and kind = 'state' and data ->> 'state' in {FINAL_STATES}
    )
))"""
"""The ids of the runs that are not over, to stand after `=`; an index holds those that are.

An array, because it is made once, before anything else of a statement.
"""


PASSED_IN = f"({', '.join(repr(status) for status in sorted(PASSED))})"
"""The statuses of a result that is a pass, to stand after `in`."""

PASSES = f"status in {PASSED_IN}"
"""Whether a result is a pass."""

HEAD = """
    id, operation, state, detail, asked_at, started_at, finished_at, request, commit,
    commit_subject, target, dbt_version, cause, caller, why, mage_run, follows, morning,
    late_seconds"""

RUN_HEAD = f"""
select{HEAD}
from ledger.run_now
"""
"""A run without what grows with its nodes."""

OF_PLAN = """
    coalesce(plan.warnings, '[]'::jsonb) as warnings,
    coalesce(plan.notes, '[]'::jsonb) as notes,
    coalesce(plan.parse_warnings, '{}'::jsonb) as parse_warnings,
    coalesce(plan.counted, jsonb_array_length(plan.names), 0) as planned_nodes"""
"""What a run has of its plan, with `plan_of`."""

RESULT = """
            node, name, type, status, seconds, rows, message, because, relation, materialized,
            sqlstate, signature"""
"""The columns of a node's result."""

STORY_IDS = """
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
"""Begins a statement: `down` is the story of a run, its root with all reruns of that."""

DISCARDED = """(
    run.operation in ('full_refresh', 'undo_refresh', 'rerun_failed')
    and exists (select from ledger.event where event.run = run.id and kind = 'refresh'
        and data ->> 'step' = 'aside')
    and not exists (select from ledger.event where event.run = run.id and kind = 'refresh'
        and data ->> 'step' = 'swapped')
)"""
"""Whether a run built aside what was never swapped in, as `Run.discarded` tells: its results
changed nothing that people read."""

BUILT = rf"""(
    run.operation <> 'undo_refresh'
    and coalesce(run.request ->> 'command', '') !~ '^\s*(dbt\s+)?compile'
    and not {DISCARDED}
)"""
"""Whether a run's passed results changed what people read. An undo builds nothing."""


def plan_of(run: str) -> str:
    """Joins `plan`, the run's last one; `run` is SQL for the run's id."""
    return f"""
left join lateral (
    -- Taken apart once: of 15,000 nodes the plan is some megabytes.
    select part.*
    from ledger.event, jsonb_to_record(event.data) as part (
        warnings jsonb, notes jsonb, parse_warnings jsonb, counted int, names jsonb
    )
    where event.run = {run} and event.kind = 'plan' order by event.seq desc limit 1
) as plan on true"""


def steps_of(run: str) -> str:
    """Joins `steps`, whose `refresh` has the steps of the run's refresh, oldest first."""
    return f"""
left join lateral (
    select jsonb_agg(data || jsonb_build_object('at', at) order by seq) as refresh
    from ledger.event
    where event.run = {run} and kind = 'refresh' and data ?& array['step', 'text']
) as steps on true"""


def failed_of(run: str) -> str:
    """Joins `failed`, whose `names` has the names of the run's failed nodes, the first first."""
    return f"""
left join lateral (
    select array_agg(name order by at, name) as names from ledger.node_result
    where node_result.run = {run} and not {PASSES} and status <> 'skipped'
) as failed on true"""


class _Storable(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(storable(obj))


def keep_storable(connection: psycopg.Connection[Any]) -> None:
    """Makes every text that goes through the connection one that PostgreSQL can hold.

    What a model or a commit brings is then never refused for a character in it.
    """
    connection.adapters.register_dumper(str, _Storable)
    set_json_dumps(storable_json, connection)
