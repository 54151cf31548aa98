"""Which runs a list shows: the filters, and the SQL that reads light rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from mage_dbt.errors import RequestError, UnknownOperation, did_you_mean
from mage_dbt.request import Cause, Operation
from mage_dbt.run import RUN_ID, RunState

LONGEST_FILTER = 500

LARGEST_MAGE_RUN = 2**63 - 1
"""What PostgreSQL's bigint holds."""

MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,6})?([Zz]|[+-]\d{2}:\d{2})")
"""A time with its offset, as RFC 3339 writes it."""

CHOICES: Mapping[str, list[str]] = {
    "state": [str(one) for one in RunState],
    "operation": [str(one) for one in Operation],
    "cause": [str(one) for one in Cause],
}

CONDITIONS = {
    "state": "state = %(state)s",
    "operation": "operation = %(operation)s",
    "cause": "cause = %(cause)s",
    "caller": "caller = %(caller)s",
    "commit": "starts_with(commit, %(commit)s)",
    "since": "asked_at >= %(since)s",
    "until": "asked_at < %(until)s",
    "follows": "follows = %(follows)s",
    "mage_run": "mage_run = %(mage_run)s",
    # A run that is over has a result for each planned node; only the others' plans are opened.
    "node": """(
        exists (
            select 1 from ledger.node_result as result
            where result.run = run_now.id and %(node)s in (result.node, result.name)
        )
        or finished_at is null and exists (
            select 1
            from ledger.event, jsonb_array_elements(event.data -> 'nodes') as planned
            where event.run = run_now.id and event.kind = 'plan'
                and %(node)s in (planned ->> 'node', planned ->> 'name')
        )
    )""",
    "before": "(asked_at, id) < (%(before_at)s, %(before)s)",
}

# The plan of a run that is over is not opened: its results are as many as its planned nodes.
LIST = """
with listed as (
    select
        id, operation, state, detail, asked_at, started_at, finished_at, request, commit,
        commit_subject, target, dbt_version, cause, caller, why, mage_run, follows, morning,
        late_seconds
    from ledger.run_now
    where {conditions}
    order by asked_at desc, id desc
    limit %(limit)s
)
select
    listed.*,
    coalesce(results.counts, '{{}}'::jsonb) as totals,
    coalesce(planned.nodes, results.nodes, 0)::int as planned_nodes
from listed
left join lateral (
    select jsonb_object_agg(status, nodes) as counts, sum(nodes) as nodes
    from (
        select status, count(*) as nodes from ledger.node_result
        where node_result.run = listed.id and (type, materialized) <> ('model', 'ephemeral')
        group by status
    ) as by_status
) as results on true
left join lateral (
    select coalesce((data -> 'counted')::int, jsonb_array_length(data -> 'names')) as nodes
    from ledger.event
    where event.run = listed.id and kind = 'plan' and listed.finished_at is null
    order by seq desc limit 1
) as planned on true
order by listed.asked_at desc, listed.id desc
"""


@dataclass(frozen=True)
class RunFilter:
    """Which runs are wanted; what is None does not matter. Build it with `parse` from text."""

    state: str | None = None
    operation: str | None = None
    cause: str | None = None
    caller: str | None = None
    commit: str | None = None
    """The beginning of a SHA."""
    node: str | None = None
    """The name or unique id of a planned node."""
    since: datetime | None = None
    until: datetime | None = None
    """`asked_at` is at or after `since`, and before `until`."""
    follows: str | None = None
    mage_run: int | None = None
    before: str | None = None
    """The run after which a page of a list, newest first, goes on."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> RunFilter:
        """Reads filters as a query string or a program gives them; None is left out.

        Raises a RequestError that names the filter.
        """
        known = {one.name for one in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in data.items():
            if name not in known:
                raise RequestError(f"Unknown filter {name!r}.", did_you_mean(name, known))
            if value is not None:
                values[name] = _parse(name, value)
        return cls(**values)

    def given(self) -> dict[str, Any]:
        """The filters that are set, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def sql(self) -> str:
        """The statement that lists; its parameters are `given`, `limit` and `before_at`."""
        conditions = [CONDITIONS[name] for name in self.given()]
        return LIST.format(conditions=" and ".join(conditions) or "true")


def _parse(name: str, value: Any) -> Any:
    if name == "mage_run":
        if isinstance(value, bool) or not isinstance(value, int):
            raise RequestError("`mage_run` is a number.")
        if not 1 <= value <= LARGEST_MAGE_RUN:
            raise RequestError(f"`mage_run` is a number from 1 to {LARGEST_MAGE_RUN}.")
        return value
    if not isinstance(value, str):
        raise RequestError(f"`{name}` is a text.")
    if not 1 <= len(value) <= LONGEST_FILTER or "\x00" in value:
        raise RequestError(
            f"`{name}` is empty, longer than {LONGEST_FILTER} characters, or holds a NUL character."
        )
    if name in CHOICES and value not in CHOICES[name]:
        raise UnknownOperation(
            f"{value!r} is not a known {name}.",
            did_you_mean(value, CHOICES[name]) or f"Known are {', '.join(CHOICES[name])}.",
        )
    if name in ("since", "until"):
        return _moment(name, value)
    if name in ("follows", "before") and not RUN_ID.fullmatch(value):
        raise RequestError(f"`{name}` is a run's id.", "For example 20261123-080000-4f2a9c.")
    if name == "commit" and not re.fullmatch(r"[0-9a-f]{4,40}", value):
        raise RequestError("`commit` is the beginning of a SHA, 4 to 40 hex digits.")
    return value


def _moment(name: str, value: str) -> datetime:
    if MOMENT.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper())
        except ValueError:
            pass  # such as the 31st of February; told below
    raise RequestError(
        f"`{name}` is a time with its offset, not {value!r}.",
        "For example 2026-11-23T08:00:00Z; in an address a + is written %2B.",
    )
