"""The shapes of bodies and answers, for OpenAPI, with examples of bodies.

A body is checked against its shape. Answers are described, not filtered: an answer may gain fields,
so a program ignores those that it does not know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from mage_dbt.errors import Malformed, NotJson, RequestError, TooLarge, UnknownOperation
from mage_dbt.model.body import PLAIN, Body
from mage_dbt.model.parse_warnings import ParseWarnings
from mage_dbt.model.refresh import Preview, RefreshStep
from mage_dbt.model.request import CauseName
from mage_dbt.model.run import RunState
from mage_dbt.model.story import Chapter

RUN_EXAMPLE = "20261123-080000-4f2a9c"

StateName = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [str(state) for state in RunState]})
]
Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


BODY_PROBLEMS = (Malformed, TooLarge, NotJson, RequestError, UnknownOperation)
"""What any body may be refused with."""


class Answer(BaseModel):
    """Something we answer."""

    model_config = ConfigDict(extra="allow")


class Decision(Body):
    """Who cancels a run, or lets it swap."""

    by: Annotated[str, Field(max_length=200, pattern=PLAIN)] | None = Field(
        None, description="Who; kept with the run. Somebody who is signed in may leave it out."
    )
    why: Annotated[str, Field(max_length=500, pattern=PLAIN)] | None = Field(
        None, description="Why; kept with the run."
    )


class Problem(Answer):
    """Problem details (RFC 9457)."""

    type: str = Field(description="A stable URN; compare this one.", pattern="^urn:mage-dbt:")
    title: str = Field(description="What kind of problem it is; the same for each type.")
    status: int
    detail: str = Field(description="What is wrong, with which thing.")
    hint: str = Field(description="What to do next; may be empty.")
    instance: str | None = Field(None, description="The address it happened at.")
    run: str | None = Field(None, description="For `key-reused`: the run that has the key.")


class NodeResult(Answer):
    """What became of one node."""

    node: str = Field(description="dbt's unique id.")
    name: str
    type: str
    status: str = Field(description="dbt's: success, pass, warn, error, fail, skipped, …")
    seconds: float
    rows: int | None = Field(description="Rows the statement reported; failures for a test.")
    message: str = Field(
        description="Of a failure the database's own words, with their line breaks; then where it "
        "happened, and what to do where that is known, each after an empty line."
    )
    because: str = Field(description="For a skipped node: the upstream that failed.")
    relation: str
    materialized: str = Field(description="How dbt builds it; empty for what is not built.")
    sqlstate: str = Field(description="PostgreSQL's code of a failure; empty without one.")
    signature: str = Field(description="Of a failure: the same for failures of the same kind.")


class PlannedNode(Answer):
    """One node of a plan."""

    node: str
    name: str
    type: str
    materialized: str
    relation: str = Field(description="The table or view it writes; empty for a test.")
    reads: list[str]
    depends_on: list[str]
    path: str = Field(description="Its file, from the folder of dbt_project.yml.")
    why: str = Field(description="Why it is in the plan.")
    estimated_seconds: float | None = Field(description="The median of its last results.")
    rows: int | None = Field(description="The database's estimate of its relation's rows now.")


class Differs(Answer):
    """What the plan's commit differs in from the newest, by models."""

    newest: str
    behind: int | None = Field(description="Commits between the two, where git can count them.")
    changed: list[str]
    only_here: list[str]
    only_in_newest: list[str]


class Plan(Answer):
    """What a run would do, in order."""

    commit: str
    digest: str = Field(description="Send it with the run, to run this and nothing else.")
    command: str
    flags: list[str]
    variables: dict[str, Any] | str = Field(
        description="As YAML where JSON would change them: dates, say."
    )
    target: str
    nodes: list[PlannedNode]
    counted: int = Field(description="How many they are as dbt counts: without ephemeral models.")
    hooks: int = Field(description="How many hooks of the project dbt runs around them.")
    writes: list[str] = Field(description="The tables and views it creates, replaces or fills.")
    estimated_seconds: float | None = Field(description="Of the nodes whose time is known.")
    estimated_nodes: int = Field(description="Of how many nodes the time is known.")
    waits_for: list[str] = Field(description="Whom it would wait for now, a sentence each.")
    differs: Differs | None = Field(description="None for the newest commit.")
    warnings: list[str]
    notes: list[str] = Field(description="What was decided, such as what a rerun leaves out.")
    parse_warnings: ParseWarnings
    refresh: list[Preview] = Field(
        description="For a refresh that is swapped in, or its undo: what happens to each relation."
    )


class RunLinks(Answer):
    """Where more of a run is."""

    self: str
    events: str
    cancel: str
    swap: str = Field(description="For a refresh with `show_first`: where to decide to swap.")
    mage: str = Field(description="Leads to the run's page in Mage, once it is there.")


class RunRow(Answer):
    """A run in a list."""

    id: str
    operation: str
    state: StateName
    detail: str = Field(description="Whom it waits for, or what failed.")
    asked_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    seconds: float | None
    request: dict[str, Any] = Field(description="As it was asked for.")
    commit: str
    commit_subject: str
    target: str
    dbt_version: str
    cause: CauseName
    caller: str
    why: str
    mage_run: int | None
    follows: str | None = Field(description="The run whose failed nodes this one runs again.")
    morning: str | None = Field(description="The local date whose daily build this is.")
    late_seconds: int
    planned_nodes: int = Field(description="As dbt counts them: without ephemeral models.")
    counts: dict[str, int] = Field(
        description="How many nodes have each status so far, as dbt counts them: without ephemeral "
        "models, with hooks."
    )
    links: RunLinks


class Run(RunRow):
    """A run with its nodes."""

    planned: list[str] = Field(description="Names of the planned nodes, in order.")
    warnings: list[str]
    notes: list[str] = Field(description="What was decided, such as what a rerun leaves out.")
    parse_warnings: ParseWarnings
    nodes: list[NodeResult]
    refresh: list[RefreshStep] = Field(
        description="The steps of a refresh that is swapped in, or of its undo, in order: checks, "
        "comparisons, the swap, and what was kept."
    )


class ShownRun(Run):
    """A run with its nodes and its story."""

    story: list[Chapter] = Field(description="What it runs again and what ran it again, in order.")


class AcceptedRun(Run):
    """The run that was asked for."""

    added: bool = Field(description="False when a call with this key had asked for it before.")


class RunPage(Answer):
    """Runs, the newest first."""

    runs: list[RunRow]
    next: str | None = Field(description="The address of the next page; null on the last one.")


class NodeDetail(Answer):
    """One node of a run, with its SQL."""

    run: str
    node: str
    name: str
    type: str
    status: str = Field(description="dbt's; before it has one, `waiting` or `running`.")
    started_at: Moment | None
    finished_at: Moment | None
    seconds: float | None
    rows: int | None
    message: str
    because: str
    relation: str
    compiled_sql: str | None
    compiled_sql_note: str = Field(description="Why there is no SQL, or that it was cut.")


class Model(Answer):
    """A model, seed or snapshot of the live commit."""

    node: str
    name: str
    type: str
    materialized: str
    relation: str
    description: str


class Models(Answer):
    """Models for a picker, the best match first."""

    models: list[Model]
    total: int = Field(description="How many match, listed or not.")


class TestedChannel(Answer):
    """What became of a test message on one channel."""

    channel: str = Field(description="Line of the file and service, never an address.")
    delivered: bool
    problem: str = Field(description="Why it was not delivered.")


class AlertTest(Answer):
    """What became of a test message."""

    channels: list[TestedChannel]


Ping = Literal["pong"]


def _example(summary: str, **value: Any) -> dict[str, Any]:
    return {"summary": summary, "value": value}


RUN_REQUESTS: dict[str, Any] = {
    "rerun_the_morning": _example(
        "The failed daily build again, what is left of it",
        operation="rerun_failed",
        why="the source is loaded now",
    ),
    "one_model": _example(
        "One model and what depends on it",
        operation="build",
        select="fct_orders+",
        why="late data",
        caller="kim in #data-alerts",
    ),
    "rerun_one_run": _example(
        "What did not pass in one run, on that run's own commit",
        operation="rerun_failed",
        of=RUN_EXAMPLE,
        commit="same",
        why="the database was full",
    ),
    "full_refresh": _example(
        "All rows of an incremental model, after a column was added",
        operation="full_refresh",
        select=["fct_orders", "fct_order_items"],
        variables={"days": 7},
        why="new column discount",
    ),
    "full_refresh_shown_first": _example(
        "The same, stopping after the comparison until somebody swaps or cancels",
        operation="full_refresh",
        models=["fct_orders"],
        show_first=True,
        why="new column discount",
    ),
    "undo_refresh": _example(
        "The table that stood there before the last refresh",
        operation="undo_refresh",
        models=["fct_orders"],
        why="the dashboard needs the old discount",
    ),
    "command": _example(
        "A dbt command", operation="command", command="test --select tag:daily", why="a check"
    ),
}

DECISIONS: dict[str, Any] = {
    "who": _example("Who and why", by="kim: the differences are those of the new column"),
    "nothing": _example("Nothing to say"),
}

CANCELLATIONS: dict[str, Any] = {
    "who": _example("Who and why", by="kim: the wrong model"),
    "nothing": _example("Nothing to say"),
}

SCHEDULES: dict[str, Any] = {
    "time": _example("Another time of day", build_at="07:30", why="the source is loaded earlier"),
    "pause": _example(
        "A pause that ends by itself",
        paused=True,
        paused_until="2026-12-05T12:00:00+09:00",
        why="inventory",
    ),
    "resume": _example("The end of a pause", paused=False),
    "reset": _example("The settings again", reset=True),
}
