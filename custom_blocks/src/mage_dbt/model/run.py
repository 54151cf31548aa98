"""A run, its nodes and its events: the values that the ledger keeps and every client shows.

These words are what people see, in Mage, in the tool and in the API: Queued, Starting, Running,
Success, Error, Cancelled for a run; dbt's own success, pass, warn, error, fail, skipped for a node.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from mage_dbt.base.text import spelled
from mage_dbt.model import codec, counts
from mage_dbt.model.codec import Moment
from mage_dbt.model.counts import Kind
from mage_dbt.model.parse_warnings import ParseWarnings
from mage_dbt.model.refresh import RefreshStep, Step
from mage_dbt.model.request import Cause, Operation, Request
from mage_dbt.model.windows import Window, without

RUN_ID = re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{6}\b")
"""A run's id inside any text: the UTC time of its request, and six random hex digits."""

CANCELLED_IN_MAGE = "its pipeline run was cancelled in Mage"

RESUMABLE_FOR = timedelta(hours=24)
"""How long the batches that a failed refresh has built aside are kept for a rerun, from when the
refresh was asked for."""

LONGEST_TITLE = 60
"""Characters; a title stands inside sentences."""

RUNNER_STOPPED = "the runner was stopped"
"""The reason when no person cancelled the run."""

TAKEN_OVER = f"{RUNNER_STOPPED}, or lost the database, and another runner took this run over"
"""The reason when a runner of another home ends the run: that the first is gone is all it sees."""


CANCELLED = "cancelled"
"""How the reason of a cancelled run's nodes begins."""

NOT_REACHED = "Not reached: "
"""How the message of a node begins that a cut-off run did not reach; the reason follows."""

ENDED_EARLY = "dbt's process ended early"
"""How the reason begins when dbt was killed, or crashed."""


INTERRUPTED = "It was interrupted."
"""How a worker's own reason begins when it was stopped; it does not know by whom."""

UNDECIDED = "Nobody decided to swap"
"""How the reason begins when a refresh was shown, and nobody let it swap in time."""


def cancelled(by: str) -> str:
    """The reason in words: `cancelled by kim`; `by` is a person, RUNNER_STOPPED, or
    CANCELLED_IN_MAGE where nobody knows the person."""
    how = (
        f": {by}" if by in (RUNNER_STOPPED, CANCELLED_IN_MAGE) else f" by {by.removeprefix('by ')}"
    )
    return CANCELLED + how


def cancelled_in_mage(who: str) -> str:
    """The `by` of a run that was cancelled in Mage; `who` is empty without a login."""
    return f"{who}: {CANCELLED_IN_MAGE}" if who else CANCELLED_IN_MAGE


PASSED = frozenset({"success", "pass", "warn"})
"""The node statuses of a successful run. Every other status is a failure."""


class RunState(StrEnum):
    """The state of a run."""

    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCESS = "Success"
    ERROR = "Error"
    CANCELLED = "Cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self in FINAL


FINAL = (RunState.SUCCESS, RunState.ERROR, RunState.CANCELLED)
"""The states that a run ends in; SQL takes them from here (`ledger/sql.py`)."""


def new_run_id(now: datetime) -> str:
    """An id that sorts by time and names no secret: `20261123-080000-4f2a9c` (UTC)."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def asked_at_of(run: str) -> datetime:
    """When a run was asked for, by its id. Raises ValueError for what is no id of a run."""
    return datetime.strptime(run[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)


@dataclass(frozen=True)
class NodeResult:
    """The result of one node of a run."""

    node: str
    """dbt's unique id."""
    name: str
    type: str
    status: str
    seconds: float = 0.0
    rows: int | None = None
    """The rows that the statement reported; None where it reports none (a view, a failed model)."""
    message: str = ""
    because: str = ""
    """For a skipped node: the name of the upstream node that failed."""
    relation: str = ""
    materialized: str = ""
    """dbt's materialization; empty for a node that is not built."""
    sqlstate: str = ""
    """PostgreSQL's code of the error; empty where none was given."""
    signature: str = ""
    """The same for failures of the same cause; see `model/failure.py`."""

    @property
    def kind(self) -> Kind:
        return self.type, self.materialized

    @property
    def failed(self) -> bool:
        """Whether it was executed and did not pass; a skipped node was not executed."""
        return not self.passed and self.status != "skipped"

    @property
    def listed(self) -> bool:
        """Whether lists show it. As in dbt, they leave out ephemeral models that passed."""
        return counts.counts(self.kind) or self.failed

    @property
    def passed(self) -> bool:
        return self.status in PASSED

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NodeResult:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)


class EventKind(StrEnum):
    """The kind of an event. Streams send every kind."""

    STATE = "state"
    """The run's new state."""
    PLAN = "plan"
    NODE_STARTED = "node_started"
    NODE_FINISHED = "node_finished"
    LOG = "log"
    """A message of dbt's, or of the workspace's, beside the nodes."""
    END = "end"
    """dbt's own report of its end."""
    MAGE = "mage"
    """The Mage pipeline run that shows this run; null where Mage does not show it."""
    CANCEL_ASKED = "cancel_asked"
    """A request to another runner, which executes the run, to cancel it."""
    REFRESH = "refresh"
    """A step of a refresh that is swapped in, or of its undo; see `model/refresh.py`."""
    SWAP_ASKED = "swap_asked"
    """A request to another runner, which executes the run, to swap what it holds."""
    FAILING_ROWS = "failing_rows"
    """Rows that a failing test found; see `FailingRows` in `model/explanation.py`."""


@dataclass(frozen=True)
class Event:
    """Something that happened in a run. `seq` grows with time, so that a reader can resume."""

    seq: int
    at: Moment
    kind: Annotated[EventKind, codec.AnyWord(EventKind)]
    data: Mapping[str, Any]

    @property
    def last(self) -> bool:
        """Whether the run has ended with it."""
        return self.kind is EventKind.STATE and self.data["state"] in FINAL

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Event:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)


TITLES: Mapping[Operation, str] = {
    Operation.BUILD: "build",
    Operation.FULL_REFRESH: "full refresh of",
    Operation.UNDO_REFRESH: "undo of the refresh of",
    Operation.RERUN_FAILED: "rerun of",
    Operation.COMMAND: "dbt",
}
"""How a run's title begins."""


@dataclass(frozen=True)
class Run:
    """A run as the ledger knows it now."""

    id: str
    operation: Annotated[Operation, codec.AnyWord(Operation)]
    state: Annotated[RunState, codec.AnyWord(RunState)]
    detail: str
    """The reason of its state: the run it waits for, or what failed."""
    asked_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    request: Request
    commit: str
    commit_subject: str
    target: str
    dbt_version: str
    cause: Annotated[Cause, codec.AnyWord(Cause)]
    caller: str
    why: str
    mage_run: int | None
    follows: str | None
    """The run whose failed and skipped nodes this run repeats."""
    morning: str | None
    """The local date whose daily build this is; the API and the ledger use this name."""
    late_seconds: int
    planned: tuple[str, ...] = ()
    """Names of the planned nodes, in order."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Decisions that a reader should know, such as what a rerun leaves out and why."""
    parse_warnings: ParseWarnings = ParseWarnings()
    """dbt's warnings while parsing; empty in a list."""
    nodes: tuple[NodeResult, ...] = ()
    """The results; empty in a list, which has `totals` and `planned_nodes`."""
    totals: Mapping[str, int] = field(default_factory=dict)
    """In a list: the number of nodes by status."""
    planned_nodes: int = 0
    """The number of planned nodes, as dbt counts them."""
    refresh: tuple[RefreshStep, ...] = ()
    """The steps of a refresh that is swapped in, or of its undo, in order; empty in a list."""

    @property
    def holds(self) -> bool:
        """Whether it waits for somebody's decision to swap."""
        last = self.refresh[-1].step if self.refresh else None
        return last is Step.HOLDS and not self.state.final

    @property
    def stopped_with_its_runner(self) -> bool:
        """Whether it was cut short and no person has decided so."""
        return self.state is RunState.CANCELLED and RUNNER_STOPPED in self.detail

    @property
    def swapped(self) -> bool:
        """Whether the swap of its refresh, or of its undo, has happened."""
        return any(step.step is Step.SWAPPED for step in self.refresh)

    @property
    def discarded(self) -> bool:
        """Whether it built aside what was never swapped in, so that its results changed nothing."""
        return any(step.step is Step.ASIDE for step in self.refresh) and not self.swapped

    @property
    def refreshed(self) -> tuple[str, ...]:
        """The names of the models that its refresh names, or of all that it has compared where
        a selection chose them, spelled: whoever lets it swap on a page types them."""
        compared = [step.comparison for step in self.refresh if step.comparison]
        names = {spelled(found.node): spelled(found.name) for found in compared}
        asked = [names.get(model, model) for model in self.request.models]
        return tuple(dict.fromkeys(asked or names.values() or self.request.select))

    def resumable(self, now: datetime) -> bool:
        """Whether a rerun goes on with the batches that it has built aside."""
        steps = {step.step for step in self.refresh}
        young = now - self.asked_at < RESUMABLE_FOR
        return young and Step.BATCH in steps and not steps & {Step.SWAPPED, Step.DISCARDED}

    @property
    def has_own_batches(self) -> bool:
        """Whether it has filled batches aside, or dropped them. Otherwise those of an earlier run,
        if it took them over, are that run's again."""
        return bool({step.step for step in self.refresh} & {Step.BATCH, Step.DISCARDED})

    def unfilled(self) -> dict[str, tuple[Window, ...]]:
        """By microbatch model, the windows that it has begun to fill aside and not filled."""
        begun = {step.node: step.windows for step in self.refresh if step.step is Step.BATCHES}
        filled = [step for step in self.refresh if step.step is Step.BATCH]
        return {
            node: without(
                windows, [window for step in filled if step.node == node for window in step.windows]
            )
            for node, windows in begun.items()
        }

    @property
    def failed(self) -> tuple[NodeResult, ...]:
        """The failed nodes, in the order of their failures."""
        return tuple(node for node in self.nodes if node.failed)

    @property
    def nodes_in_all(self) -> int:
        """The number of nodes as dbt counts them, with the hooks that have run."""
        return max(self.planned_nodes, counts.number(node.kind for node in self.nodes))

    @property
    def is_full_build(self) -> bool:
        """Whether it is a build like the daily one, whoever began it."""
        return self.request.is_full_build or self.morning is not None

    @property
    def title(self) -> str:
        """The run in a few words: `daily build`, `full refresh of fct_orders`."""
        asked = self.request
        begins = TITLES.get(self.operation, str(self.operation))  # another version may know more
        words: list[str] = [begins, *asked.select, *asked.models, asked.after_dbt]
        if asked.exclude:
            words += ["without", *asked.exclude]
        if self.operation is Operation.RERUN_FAILED:
            words += [self.follows or asked.of or "the last full build"]
        text = " ".join(filter(None, words))
        if self.morning is not None:
            return "daily build"
        if self.is_full_build:
            return "build of everything"
        if text == "build":
            return "build everything with other variables or times"
        return text if len(text) <= LONGEST_TITLE else text[: LONGEST_TITLE - 3].rstrip() + "..."

    @property
    def seconds(self) -> float | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    def counts(self) -> dict[str, int]:
        """The number of nodes by status, as dbt counts them, in the order of first appearance."""
        found = dict(self.totals)
        alike = Counter((node.status, node.type, node.materialized) for node in self.nodes)
        for (status, *kind), number in alike.items():
            if counts.counts((kind[0], kind[1])):
                found[status] = found.get(status, 0) + number
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Run:
        """Reads what `to_json` or `summary` gave, or a row of the ledger."""
        totals = {} if data.get("nodes") else data.get("totals", data.get("counts", {}))
        return codec.read(cls, {**data, "totals": totals})

    def summary(self) -> dict[str, Any]:
        """`to_json` without what grows with the number of nodes."""
        data = self.to_json()
        for name in ("planned", "warnings", "notes", "parse_warnings", "nodes", "refresh"):
            del data[name]
        return data

    def to_json(self) -> dict[str, Any]:
        data = codec.plain(self)
        del data["totals"]
        return data | {
            "counts": self.counts(),
            "seconds": self.seconds,
        }
