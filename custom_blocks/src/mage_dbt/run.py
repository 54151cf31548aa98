"""A run, its nodes and its events: the plain values that the ledger keeps and every door shows.

These words are what people see, in Mage, in the tool and in the API: Queued, Starting, Running,
Success, Error, Cancelled for a run; dbt's own success, pass, warn, error, fail, skipped for a node.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from mage_dbt import counts
from mage_dbt.counts import Kind
from mage_dbt.parse_warnings import ParseWarnings

RUN_ID = re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{6}\b")
"""A run's id inside any text: the UTC time it was asked for, and six random hex digits."""

CANCELLED_IN_MAGE = "its pipeline run was cancelled in Mage"

LONGEST_TITLE = 60
"""Characters; a title stands inside sentences."""

RUNNER_STOPPED = "the runner was stopped"
"""Why a run was cancelled that nobody cancelled."""


def cancelled(by: str) -> str:
    """Why a run was cancelled, in words: `cancelled by kim`; `by` is also RUNNER_STOPPED."""
    return f"cancelled: {by}" if by == RUNNER_STOPPED else f"cancelled by {by.removeprefix('by ')}"


def cancelled_in_mage(who: str) -> str:
    """Who cancels a run by cancelling its pipeline run; `who` is empty without a login."""
    return f"{who or 'somebody'}: {CANCELLED_IN_MAGE}"


PASSED = frozenset({"success", "pass", "warn"})
"""Node statuses that leave a run green. Everything else is the truth about a failure."""


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCESS = "Success"
    ERROR = "Error"
    CANCELLED = "Cancelled"

    @property
    def final(self) -> bool:
        return self in (RunState.SUCCESS, RunState.ERROR, RunState.CANCELLED)


def new_run_id(now: datetime) -> str:
    """An id that sorts by time and names no secret: `20261123-080000-4f2a9c` (UTC)."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class NodeResult:
    """What became of one node of a run."""

    node: str
    """dbt's unique id."""
    name: str
    type: str
    status: str
    seconds: float = 0.0
    rows: int | None = None
    """Rows the statement reported; None where it reports none (a view, a failed model)."""
    message: str = ""
    because: str = ""
    """For a skipped node: the name of the upstream that failed."""
    relation: str = ""
    materialized: str = ""
    """How dbt builds it, in dbt's word; empty for what is not built."""

    @property
    def kind(self) -> Kind:
        return self.type, self.materialized

    @property
    def failed(self) -> bool:
        """Whether it was executed and did not pass; a skipped one was not executed."""
        return not self.passed and self.status != "skipped"

    @property
    def listed(self) -> bool:
        """Whether it is shown by itself: an ephemeral model that is well is not, as in dbt."""
        return counts.counts(self.kind) or self.failed

    @property
    def passed(self) -> bool:
        return self.status in PASSED

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NodeResult:
        return cls(**{one.name: data[one.name] for one in fields(cls) if one.name in data})

    def to_json(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


class EventKind(StrEnum):
    """What an event tells. Each is streamed to whoever follows the run."""

    STATE = "state"
    """Where the run stands from now on."""
    PLAN = "plan"
    NODE_STARTED = "node_started"
    NODE_FINISHED = "node_finished"
    LOG = "log"
    """What dbt, or the workspace, says beside the nodes."""
    END = "end"
    """How dbt says that it ended."""
    MAGE = "mage"
    """The Mage pipeline run that shows this run; null where Mage does not show it."""
    CANCEL_ASKED = "cancel_asked"
    """Somebody wants the run to be cancelled by the runner that carries it, another one."""


@dataclass(frozen=True)
class Event:
    """One thing that happened in a run. `seq` grows by time; ask for those after the last seen."""

    seq: int
    at: datetime
    kind: str
    """An EventKind."""
    data: Mapping[str, Any]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Event:
        return cls(data["seq"], datetime.fromisoformat(data["at"]), data["kind"], data["data"])

    def to_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "at": self.at.isoformat(),
            "kind": self.kind,
            "data": dict(self.data),
        }


@dataclass(frozen=True)
class Run:
    """A run as the ledger knows it now."""

    id: str
    operation: str
    state: RunState
    detail: str
    """Why it stands where it stands: whom it waits for, or what failed."""
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    request: Mapping[str, Any]
    commit: str
    commit_subject: str
    target: str
    dbt_version: str
    cause: str
    caller: str
    why: str
    mage_run: int | None
    follows: str | None
    """The run whose failed and skipped nodes this one runs again."""
    morning: str | None
    """The local date whose morning build this is."""
    late_seconds: int
    planned: tuple[str, ...]
    """Names of the planned nodes, in order."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What was decided for the reader, such as what a rerun leaves out and why."""
    parse_warnings: ParseWarnings = ParseWarnings()
    """What dbt warned of while it parsed; empty in a list."""
    nodes: tuple[NodeResult, ...] = field(default=())
    """What became of each node; empty in a list, which has `totals` and `planned_nodes`."""
    totals: Mapping[str, int] = field(default_factory=dict)
    """In a list: how many nodes have each status."""
    planned_nodes: int = 0
    """How many nodes are planned, as dbt counts them."""

    @property
    def failed(self) -> tuple[NodeResult, ...]:
        """The nodes that failed, in the order in which they did."""
        return tuple(one for one in self.nodes if one.failed)

    @property
    def nodes_in_all(self) -> int:
        """As dbt counts them: hooks too, once they have run."""
        return max(self.planned_nodes, counts.number(one.kind for one in self.nodes))

    @property
    def builds_everything(self) -> bool:
        """Whether it is a build like the daily one, whoever began it."""
        chosen = ("select", "exclude", "models", "event_time_start", "variables")
        plain = self.operation == "build" and not any(self.request.get(one) for one in chosen)
        return plain or self.morning is not None

    @property
    def title(self) -> str:
        """What it is, in a few words: `daily_full_build`, or `full_refresh fct_orders`."""
        asked = self.request
        chosen = (*asked.get("select", ()), *asked.get("models", ()))
        words = [self.operation, *chosen, asked.get("command") or ""]
        if asked.get("exclude"):
            words += ["without", *asked["exclude"]]
        if self.operation == "rerun_failed":
            words += ["of", self.follows or asked.get("of") or "the last full build"]
        text = " ".join(filter(None, words))
        if self.builds_everything:
            return "daily_full_build"
        if text == "build":
            return "build everything with other variables or times"
        return text if len(text) <= LONGEST_TITLE else text[: LONGEST_TITLE - 3].rstrip() + "..."

    @property
    def seconds(self) -> float | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    def counts(self) -> dict[str, int]:
        """How many nodes have each status, in the order they are first met; as dbt counts them."""
        found = dict(self.totals)
        for one in self.nodes:
            if counts.counts(one.kind):
                found[one.status] = found.get(one.status, 0) + 1
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Run:
        values = {one.name: data[one.name] for one in fields(cls) if one.name in data}
        for name in ("asked_at", "started_at", "finished_at"):
            values[name] = datetime.fromisoformat(data[name]) if data[name] else None
        values["state"] = RunState(data["state"])
        values["planned"] = tuple(data.get("planned", ()))
        values["warnings"] = tuple(data.get("warnings", ()))
        values["notes"] = tuple(data.get("notes", ()))
        if "parse_warnings" in data:
            values["parse_warnings"] = ParseWarnings.from_json(data["parse_warnings"])
        values["nodes"] = tuple(NodeResult.from_json(one) for one in data.get("nodes", ()))
        values["totals"] = {} if values["nodes"] else dict(data.get("counts", {}))
        return cls(**values)

    def summary(self) -> dict[str, Any]:
        """`to_json` without what grows with the number of nodes."""
        data = self.to_json()
        for name in ("planned", "warnings", "notes", "parse_warnings", "nodes"):
            del data[name]
        return data

    def to_json(self) -> dict[str, Any]:
        data = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "totals"}
        for name in ("asked_at", "started_at", "finished_at"):
            data[name] = data[name].isoformat() if data[name] else None
        return data | {
            "request": dict(self.request),
            "planned": list(self.planned),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "parse_warnings": self.parse_warnings.to_json(),
            "nodes": [one.to_json() for one in self.nodes],
            "planned_nodes": self.planned_nodes,
            "counts": self.counts(),
            "seconds": self.seconds,
        }
