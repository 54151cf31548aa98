"""The shapes of every body and answer, for OpenAPI.

A body is checked against its shape and refused when it has a field too many; what it means is then
for `Request.parse`. Answers are described, not filtered: an answer may gain fields, so a program
ignores those it does not know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from mage_dbt.request import LONGEST_TEXT, Cause, Operation
from mage_dbt.run import RunState
from mage_dbt.selection import LONGEST_CRITERION, MOST_CRITERIA
from mage_dbt.variables import LONGEST, MOST

RUN_EXAMPLE = "20261123-080000-4f2a9c"

PLAIN = r"^[^\x00-\x1f\x7f]*$"
"""No control characters: the text stands in lines of logs and lists."""

# Shown as enumerations, and checked by Request.parse, which suggests the nearest.
OperationName = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [str(one) for one in Operation]})
]
CauseName = Annotated[str, WithJsonSchema({"type": "string", "enum": [str(one) for one in Cause]})]
StateName = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [str(one) for one in RunState]})
]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Criterion = Annotated[str, Field(max_length=LONGEST_CRITERION)]
Criteria = Text | Annotated[list[Criterion], Field(max_length=MOST_CRITERIA)] | None
Variables = (
    Annotated[dict[str, Any], Field(max_length=MOST)] | Annotated[str, Field(max_length=LONGEST)]
)
Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class Body(BaseModel):
    """Something sent to us."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """Something we answer."""

    model_config = ConfigDict(extra="allow")


class RunRequest(Body):
    """What is to run. Without `operation` a build, without `select` everything."""

    operation: OperationName | None = Field(
        None,
        description="`build`: run and test. `full_refresh`: rebuild all rows of incremental "
        "models. "
        "`rerun_failed`: what did not pass in a run. `command`: a dbt command.",
    )
    select: Criteria = Field(
        None, description="Models in dbt's selection syntax: one text, or a list. `fct_orders+`."
    )
    exclude: Criteria = Field(None, description="Models to leave out, in the same syntax.")
    models: Criteria = Field(
        None,
        description="Instead of `select`: names or unique ids, each of one model, seed or "
        "snapshot, whatever folder or tag has that name too.",
    )
    with_upstream: bool | None = Field(
        None, description="With `models`: build what they read first."
    )
    with_downstream: bool | None = Field(
        None, description="With `models`: build what reads them too."
    )
    event_time_start: Text | None = Field(
        None,
        description="For `build`: microbatch models build the batches from this time on (UTC), "
        "`2026-01-31` or `2026-01-31T08:00:00`. With `event_time_end`.",
    )
    event_time_end: Text | None = Field(
        None, description="Where that window ends; this time does not belong to it."
    )
    variables: Variables | None = Field(
        None,
        description="dbt variables by name, or as the YAML text that `dbt --vars` takes (for what "
        "JSON has not, such as dates); a name that nothing seems to read is warned of.",
    )
    command: Text | None = Field(
        None, description="For `command`: what one would type after `dbt`."
    )
    of: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = Field(
        None,
        description="For `rerun_failed`: the run whose unfinished business this is. Without it: "
        "the last build of everything, whoever began it.",
    )
    commit: Text | None = Field(
        None,
        description="A SHA or tag of the synced branch; for `rerun_failed` also `same`. Without "
        "it: the newest commit that is ready.",
    )
    wait_for_commit: bool | None = Field(
        None,
        description="Whether to wait, up to two minutes, for a newer commit that is being made "
        "ready. Without it: for `rerun_failed`, unless `commit` or `digest` is given.",
    )
    digest: Text | None = Field(
        None,
        description="The digest of the plan that somebody has seen: refused (409) when the run "
        "would do something else.",
    )
    why: Text | None = Field(None, description="The reason, kept in the history.")
    caller: Annotated[str, Field(max_length=100, pattern=PLAIN)] | None = Field(
        None, description="Who asks, such as a chat user; kept as `API: <caller>`."
    )
    # Only on the Unix socket, where Mage's blocks and the tool call.
    cause: SkipJsonSchema[str | None] = None
    key: SkipJsonSchema[str | None] = None
    mage_run: SkipJsonSchema[int | None] = None
    keep_views: SkipJsonSchema[bool | None] = None


class CancelRequest(Body):
    """Who cancels a run."""

    by: Annotated[str, Field(max_length=200, pattern=PLAIN)] | None = Field(
        None, description="Who, and why; kept with the run."
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


class ParseWarning(Answer):
    """One sentence of dbt's."""

    text: str
    times: int = Field(description="How often; of each kind of deprecation dbt says the first.")
    deprecation: bool
    new: bool = Field(description="Whether the ready commit before did not have it.")
    only_here: bool = Field(
        description="Of a run: whether its commit does not have it with other variables."
    )


class ParseWarnings(Answer):
    """What dbt warned of while it parsed."""

    total: int
    new: int
    since: str = Field(description="SHA of the ready commit before; empty without one.")
    shown: list[ParseWarning] = Field(description="New ones first; at most 500.")


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


class RunLinks(Answer):
    """Where more of a run is."""

    self: str
    events: str
    cancel: str
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


class Chapter(Answer):
    """One run of a story."""

    run: str
    operation: str
    asked_at: Moment
    finished_at: Moment | None
    state: StateName
    caller: str
    commit: str
    failed: list[str]
    notes: list[str]
    text: str = Field(description="All of it in a sentence.")


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


class ActiveRun(Answer):
    """A run that waits or runs. While PostgreSQL is away only its id is known."""

    run: str
    title: str | None = None
    state: StateName | None = None
    since: Moment | None = None
    detail: str | None = Field(None, description="Whom it waits for.")
    caller: str | None = None


class Alerts(Answer):
    """Who is told of failures."""

    told: list[str]
    problems: list[str]


class Status(Answer):
    """How the workspace is; what `mage-dbt status` shows."""

    live: dict[str, Any] | None = Field(description="The commit that runs use.")
    published: str | None
    preparing: Any
    broken: dict[str, Any] | None = Field(description="The newest commit, when it does not parse.")
    last_broken: dict[str, Any] | None
    sync: Any
    next_morning: Moment
    active_runs: list[ActiveRun]
    ledger_error: str = Field(description="Empty while PostgreSQL answers.")
    processes: Any
    alerts: Alerts


Ping = Literal["pong"]
