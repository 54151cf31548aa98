"""Lists of runs: the filters, and the SQL that reads rows without nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from mage_dbt.errors import RequestError, UnknownOperation, did_you_mean
from mage_dbt.ledger.sql import RUN_HEAD, UNFINISHED
from mage_dbt.model.request import Cause, Operation
from mage_dbt.model.run import FINAL, RUN_ID, RunState

LONGEST_FILTER = 500

LARGEST_MAGE_RUN = 2**63 - 1
"""The largest value of PostgreSQL's bigint."""

MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,6})?([Zz]|[+-]\d{2}:\d{2})")
"""A time with its offset, in RFC 3339's form."""

CHOICES: Mapping[str, list[str]] = {
    "state": [str(state) for state in RunState],
    "operation": [str(operation) for operation in Operation],
    "cause": [str(cause) for cause in Cause],
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
    "node": f"""id = any (array(
        select run from ledger.node_result where node = %(node)s
        union all
        select run from ledger.node_result where name = %(node)s
        union all
        select event.run
        from ledger.event, jsonb_array_elements(event.data -> 'nodes') as part (of_plan)
        where event.run = {UNFINISHED} and event.kind = 'plan'
            and %(node)s in (of_plan ->> 'node', of_plan ->> 'name')
    ))""",
    "daily": "morning is not null",
    "before": "(asked_at, id) < (%(before_at)s, %(before)s)",
}

CANCELLED = """id = any (array(
    select run from ledger.event where kind = 'state' and data ->> 'state' = 'Cancelled'
))"""

# The plan of a run that is over is not opened: its results are as many as its planned nodes.
LIST = f"""
with listed as (
    {RUN_HEAD}
    where {{conditions}}
    order by asked_at desc, id desc
    limit %(limit)s
)
select
    listed.*,
    coalesce(results.counts, '{{{{}}}}'::jsonb) as totals,
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
    """The filters of a list; None is no filter. `parse` makes one from text."""

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
    daily: bool | None = None
    """Daily builds alone, or all others."""
    before: str | None = None
    """The last run of the page before; lists are newest first."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> RunFilter:
        """Reads filters from a query string or a program; None is no filter.

        Raises a RequestError that names the filter.
        """
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in data.items():
            if name not in known:
                raise RequestError(f"Unknown filter {name!r}.", did_you_mean(name, known))
            if value is not None:
                values[name] = _parse(name, value)
        return cls(**values)

    def given(self) -> dict[str, Any]:
        """The filters that are set, by name."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def sql(self) -> str:
        """The statement that lists; its parameters are `given`, `limit` and `before_at`."""
        conditions = [CONDITIONS[name] for name in self.given()]
        if self.daily is False:
            conditions[conditions.index(CONDITIONS["daily"])] = "morning is null"
        # Of few runs: the state of no other is looked up.
        if self.state is not None and self.state not in FINAL:
            conditions.append(f"id = {UNFINISHED}")
        elif self.state == RunState.CANCELLED:
            conditions.append(CANCELLED)
        return LIST.format(conditions=" and ".join(conditions) or "true")


def _parse(name: str, value: Any) -> Any:
    if name == "mage_run":
        if isinstance(value, bool) or not isinstance(value, int):
            raise RequestError("`mage_run` is a number.")
        if not 1 <= value <= LARGEST_MAGE_RUN:
            raise RequestError(f"`mage_run` is a number from 1 to {LARGEST_MAGE_RUN}.")
        return value
    if name == "daily":
        if not isinstance(value, bool):
            raise RequestError("`daily` is true or false.")
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
            pass  # such as the 31st of February; refused below
    raise RequestError(
        f"`{name}` is a time with its offset, not {value!r}.",
        "For example 2026-11-23T08:00:00Z; in an address a + is written %2B.",
    )
