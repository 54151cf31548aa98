"""A Request: what somebody asked for, checked once, where it comes in.

The shape of what comes in is a RunRequest; `Request.checked` checks what it means. The HTTP API,
Mage's blocks and the tool take the same two steps. The ledger's JSON is read back unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from mage_dbt.base.redaction import scrub
from mage_dbt.base.text import spelled
from mage_dbt.errors import BadCommit, BadSelection, RequestError, UnknownOperation, did_you_mean
from mage_dbt.model import codec
from mage_dbt.model.body import PLAIN, Body, Text
from mage_dbt.model.command import UNDO, WINDOW_REFRESHED, Command
from mage_dbt.model.refresh import OVERRIDABLE
from mage_dbt.model.selection import LONGEST_CRITERION, MOST_CRITERIA, criteria
from mage_dbt.model.variables import LONGEST, MOST, Variables
from mage_dbt.model.variables import read as read_variables
from mage_dbt.model.windows import Window

TIMES = ("event_time_start", "event_time_end")

CHOOSING = ("select", "models")
"""The fields of which each may name what is to run."""

SAME_COMMIT = "same"

# No leading dash (git would take it for an option), nothing that git reads as an operator.
COMMIT = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.+/-]{0,198}[0-9A-Za-z_+-])?")

DIGEST = re.compile(r"[0-9a-f]{64}")


class Operation(StrEnum):
    """The kind of work of a run."""

    BUILD = "build"
    FULL_REFRESH = "full_refresh"
    RERUN_FAILED = "rerun_failed"
    UNDO_REFRESH = "undo_refresh"
    COMMAND = "command"


class Cause(StrEnum):
    """The way a request came in."""

    SCHEDULE = "schedule"
    START = "start"
    FORM = "form"
    TOOL = "tool"
    API = "api"
    PAGE = "page"


Word = TypeVar("Word", bound=StrEnum)

# Shown as enumerations, and checked by `Request.checked`, which suggests the nearest.
OperationName = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [str(operation) for operation in Operation]})
]
CauseName = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [str(cause) for cause in Cause]})
]
Criterion = Annotated[str, Field(max_length=LONGEST_CRITERION)]
Criteria = Text | Annotated[list[Criterion], Field(max_length=MOST_CRITERIA, strict=False)] | None
GivenVariables = (
    Annotated[dict[Any, Any], Field(max_length=MOST)] | Annotated[str, Field(max_length=LONGEST)]
)


class RunRequest(Body):
    """What is to run. Without `operation` a build, without `select` everything."""

    operation: OperationName | None = Field(
        None,
        description="`build`: run and test. `full_refresh`: rebuild all rows of incremental models "
        "and tables. `undo_refresh`: bring back what stood there before. `rerun_failed`: what did "
        "not pass in a run. `command`: a dbt command.",
    )
    select: Criteria = Field(
        None,
        description="Models in dbt's selection syntax: one text, or a list. `fct_orders+`. Left "
        "out: everything; an empty one is refused.",
    )
    exclude: Criteria = Field(None, description="Models to leave out, in the same syntax.")
    models: Criteria = Field(
        None,
        description="Instead of `select`: names or unique ids, at least one, each of one model, "
        "seed or snapshot, whatever folder or tag has that name too. A character that does not "
        "print is written as `\\t` is for a tab. For `undo_refresh`: those to bring back.",
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
    variables: GivenVariables | None = Field(
        None,
        description="dbt variables by name, or as the YAML text that `dbt --vars` takes (for what "
        "JSON has not, such as dates); a name that nothing seems to read is warned of.",
    )
    command: Text | None = Field(
        None, description="For `command`: what one would type after `dbt`."
    )
    of: Text | None = Field(
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
    in_place: bool | None = Field(
        None,
        description="For `full_refresh`: drop and rebuild as dbt does, instead of building aside "
        "and swapping.",
    )
    show_first: bool | None = Field(
        None,
        description="For `full_refresh`: stop after the comparison, until somebody swaps or "
        "cancels the run.",
    )
    override: Criteria = Field(
        None,
        description="For `full_refresh` and `undo_refresh`: checks that do not stop it: `rows`, "
        "`key`, `tests`, `snapshot`. With a reason in `why`.",
    )
    why: Text | None = Field(None, description="The reason, kept in the history.")
    caller: Annotated[str, Field(max_length=100, pattern=PLAIN)] | None = Field(
        None, description="Who asks, such as a chat user; kept as `API: <caller>`."
    )
    # Only on the Unix socket, where Mage's blocks and the tool call.
    cause: SkipJsonSchema[Text | None] = None
    key: SkipJsonSchema[Text | None] = None
    mage_run: SkipJsonSchema[int | None] = None
    keep_views: SkipJsonSchema[bool | None] = None


@dataclass(frozen=True)
class Origin:
    """Who asks, and how: the part of a request beside its work."""

    cause: Cause = Cause.API
    caller: str = "unknown"
    key: str | None = None
    mage_run: int | None = None
    keep_views: bool = False

    @classmethod
    def named_in(cls, body: RunRequest) -> Origin:
        """The origin that the body itself names. Raises a RequestError that names the field."""
        return cls(
            cause=_one_of(Cause, body.cause or "api", "cause"),
            caller=scrub(_text(body.caller, "caller")) or "unknown",
            key=_text(body.key, "key") or None,
            mage_run=body.mage_run,
            keep_views=body.keep_views is True,
        )


@dataclass(frozen=True)
class Request:
    """The work that somebody asked for, and its origin; `checked` and `parse` make one."""

    __pydantic_config__ = codec.DESCRIBED

    operation: Annotated[Operation, codec.AnyWord(Operation)]
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Instead of `select`: names or unique ids of models, seeds and snapshots, each meaning that
    one node, whatever folder, tag or method has its name too."""
    with_upstream: bool = False
    """Whether all that `models` read is built too."""
    with_downstream: bool = False
    """Whether all that reads `models` is built too."""
    event_time_start: str = ""
    """For microbatch models: the window to build, in UTC; both or neither."""
    event_time_end: str = ""
    variables: Variables = field(default_factory=lambda: MappingProxyType({}))
    command: str = ""
    """For operation `command`: what one would type after `dbt`."""
    of: str | None = None
    """For operation `rerun_failed`: the run whose unfinished business this is; None for the last
    daily build."""
    commit: str = ""
    """A SHA or tag of the synced branch; `same` for that of `of`; empty for the newest ready."""
    digest: str = ""
    """The plan somebody has seen; the request is refused when it would run another one."""
    in_place: bool = False
    """For a full refresh: whether dbt drops and rebuilds in place."""
    show_first: bool = False
    """For a full refresh: whether it stops after the comparison for somebody's decision."""
    override: tuple[str, ...] = ()
    """For a full refresh or its undo: names of checks that do not stop it."""
    why: str = ""
    cause: Annotated[Cause, codec.AnyWord(Cause)] = Cause.API
    caller: str = "unknown"
    key: str | None = None
    """The idempotency key: the same key is the same run."""
    mage_run: int | None = None
    """The Mage pipeline run this belongs to; cancelling that cancels this."""
    wait_for_commit: bool | None = None
    """Whether a newer commit that is being made ready is waited for; None for a rerun that names
    neither commit nor plan, which then waits, and for others, which do not."""
    keep_views: bool = False
    """Whether a full refresh is refused when it would drop views that it does not rebuild. The
    caller's role decides it (`identity/rights.py`)."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Request:
        """Reads a request from plain data with its origin, as a form or the tool gives it.

        `select` and `exclude` may be one text with criteria separated by spaces, or a list;
        `variables` a mapping, or the text that one would give to `dbt --vars`.
        Raises a RequestError that names the field.
        """
        body = RunRequest.read(data)
        return cls.checked(body, Origin.named_in(body))

    @classmethod
    def checked(cls, body: RunRequest, origin: Origin) -> Request:
        """The request that a body of the right shape makes. Raises a RequestError that names the
        field."""
        operation = _one_of(Operation, body.operation or "build", "operation")
        command = _text(body.command, "command")
        of = _text(body.of, "of") or None
        select = criteria(_words(body.select), "`select`")
        exclude = criteria(_words(body.exclude), "`exclude`")
        models = _models(body.models)
        if operation is Operation.BUILD and not select and not models:
            _refuse_empty(body)
        if models and (select or exclude):
            raise BadSelection(
                "`models` names all that is chosen: leave `select` and `exclude` out."
            )
        window = _window(body, operation)
        if operation is Operation.COMMAND:
            if select or exclude or models:
                raise RequestError("A command brings its own --select and --exclude.")
            Command.parse(command)
        elif command:
            raise RequestError(f"Only the operation `command` takes a command, not {operation}.")
        if operation is Operation.FULL_REFRESH and not select and not models:
            raise BadSelection(
                "A full refresh needs the models to refresh.",
                "Name at least one in `select` or `models`.",
            )
        if operation is Operation.RERUN_FAILED and (select or exclude or models):
            raise RequestError("A rerun of what failed chooses its models itself.")
        if operation is Operation.UNDO_REFRESH:
            _check_undo(body, select or exclude, models)
        _check_way(body, operation)
        if operation is not Operation.RERUN_FAILED and of:
            raise RequestError("Only the operation `rerun_failed` takes `of`.")
        commit = _commit(body.commit, operation)
        if body.wait_for_commit and commit:
            raise RequestError("`wait_for_commit` is for the newest commit: leave `commit` out.")
        digest = _text(body.digest, "digest")
        if digest and not DIGEST.fullmatch(digest):
            raise RequestError("`digest` is the 64 hex digits that a plan gives.")
        return cls(
            operation=operation,
            select=select,
            exclude=exclude,
            models=models,
            with_upstream=_switch(body.with_upstream, "with_upstream", models),
            with_downstream=_switch(body.with_downstream, "with_downstream", models),
            event_time_start=window[0],
            event_time_end=window[1],
            variables=MappingProxyType(read_variables(body.variables)),
            command=command,
            of=of,
            commit=commit,
            digest=digest,
            in_place=bool(body.in_place),
            show_first=bool(body.show_first),
            override=_overrides(body, operation),
            why=scrub(_text(body.why, "why")),
            wait_for_commit=body.wait_for_commit,
            **vars(origin),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """Reads the data of `to_json`, of any version of this package, unchecked."""
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to the same request."""
        return codec.plain(self)

    def to_body(self) -> dict[str, Any]:
        """The body of a call that asks for it, which `parse` reads back to the same request.

        What chooses nothing is left out: a selection that is given and empty is refused.
        """
        data = self.to_json()
        return {name: value for name, value in data.items() if value or name not in CHOOSING}

    def what(self) -> dict[str, Any]:
        """The request without its origin; equal for equal requests."""
        data = self.to_json()
        for name in (*(item.name for item in fields(Origin)), "wait_for_commit"):
            del data[name]
        return data

    def same_work(self, other: Request) -> bool:
        """Whether both ask for the same, for whatever reason, and whatever plan was seen."""
        mine, theirs = (replace(request, why="", digest="").what() for request in (self, other))
        return mine == theirs

    @property
    def selects_everything(self) -> bool:
        """Whether it builds every node of the project, with whatever variables and window."""
        chosen = self.select or self.exclude or self.models
        return self.operation is Operation.BUILD and not chosen

    @property
    def is_full_build(self) -> bool:
        """Whether it is a build like the daily one: of every node, without variables or window."""
        return self.selects_everything and not self.variables and not self.event_time_start

    @property
    def after_dbt(self) -> str:
        """The command as one types it after `dbt`; empty for other operations."""
        return self.command.removeprefix("dbt").strip()

    @property
    def waits_for_commit(self) -> bool:
        """Whether a newer commit that is being made ready is waited for."""
        if self.wait_for_commit is not None:
            return self.wait_for_commit
        rerun = self.operation is Operation.RERUN_FAILED
        return rerun and not self.commit and not self.digest

    def dbt_command(self) -> Command:
        """The dbt command line this request stands for, selection included.

        Raises a RequestError for one that another version of this package took, and this does not.
        """
        if self.operation is Operation.COMMAND:
            return Command.parse(self.command)
        if self.operation not in Operation.__members__.values():
            raise UnknownOperation(f"{str(self.operation)!r} is not a known operation.")
        if self.operation is Operation.UNDO_REFRESH:
            return Command(UNDO)
        flags: tuple[str, ...] = (
            ("--full-refresh",) if self.operation is Operation.FULL_REFRESH else ()
        )
        window = None
        if self.event_time_start:
            window = Window.asked(self.event_time_start, self.event_time_end, TIMES)
            flags += window.flags()
        return Command("build", self.select, self.exclude, flags, window)

    def does_all_of(self, other: Request) -> bool:
        """Whether a node that passed in a run of this request also did what `other` asks for."""
        asked = other.dbt_command()
        same = dict(self.variables) == dict(other.variables) or not asked.writes
        return same and self.dbt_command().does_all_of(asked)

    def fills_as(self, other: Request) -> bool:
        """The same for a microbatch model, whose results record the window that they filled."""
        same = dict(self.variables) == dict(other.variables)
        mine, theirs = (replace(request.dbt_command(), window=None) for request in (self, other))
        return same and mine.does_all_of(theirs)


def _one_of(kind: type[Word], value: str, name: str) -> Word:
    try:
        return kind(value)
    except ValueError:
        choices = [str(member) for member in kind]
        raise UnknownOperation(
            f"{value!r} is not a known {name}.",
            did_you_mean(value, choices) or f"Known are {', '.join(choices)}.",
        ) from None


def _text(value: str | None, name: str) -> str:
    value = value or ""
    if "\x00" in value:
        raise RequestError(f"`{name}` holds a NUL character.")
    return value.strip()


def _words(value: str | list[str] | None) -> Sequence[str]:
    return value.split() if isinstance(value, str) else value or ()


def _refuse_empty(body: RunRequest) -> None:
    """A selection that came out empty in somebody's program does not mean everything.

    Both as empty lists do: so the request of a build of everything is kept, and older clients ask.
    """
    if body.select == [] and body.models == []:
        return
    for name in CHOOSING:
        if getattr(body, name) is not None:
            raise BadSelection(
                f"`{name}` is empty: it chooses nothing.",
                "Name at least one model, or leave it out to build everything.",
            )


def _models(value: str | list[str] | None) -> tuple[str, ...]:
    """The names; they stand in lines of logs and lists, so one that does not print is spelled."""
    for name in (names := _words(value)):
        if not name or not name.isprintable():
            raise BadSelection(
                f"{name[:100]!r} in `models` holds a character that does not print.",
                f"Write {spelled(name[:100])}." if name else "",
            )
    return tuple(dict.fromkeys(names))


def _switch(value: bool | None, name: str, models: tuple[str, ...]) -> bool:
    if value and not models:
        raise RequestError(f"`{name}` goes with `models`.", "In `select` write +model or model+.")
    return bool(value)


def _check_undo(body: RunRequest, selected: Sequence[str], models: Sequence[str]) -> None:
    """An undo brings back the named relations as they stood: nothing is selected or built."""
    if selected or not models:
        raise BadSelection(
            "An undo needs the models whose refresh is undone.",
            "Name each in `models`; `select` and `exclude` are not taken.",
        )
    for name in ("with_upstream", "with_downstream", "variables"):
        if getattr(body, name):
            raise RequestError(f"An undo builds nothing, so it takes no `{name}`.")


def _check_way(body: RunRequest, operation: Operation) -> None:
    for name in ("in_place", "show_first"):
        if getattr(body, name) and operation is not Operation.FULL_REFRESH:
            raise RequestError(f"Only the operation `full_refresh` takes `{name}`.")
    if body.in_place and body.show_first:
        raise RequestError(
            "A refresh in place has nothing to show first: dbt replaces the table while it builds.",
            "Leave `in_place` or `show_first` out.",
        )


def _overrides(body: RunRequest, operation: Operation) -> tuple[str, ...]:
    checks = tuple(dict.fromkeys(_words(body.override)))
    if not checks:
        return ()
    if operation not in (Operation.FULL_REFRESH, Operation.UNDO_REFRESH):
        raise RequestError("Only `full_refresh` and `undo_refresh` take `override`.")
    if body.in_place:
        raise RequestError("A refresh in place checks nothing that `override` could pass over.")
    known = [str(check) for check in OVERRIDABLE]
    for check in checks:
        if check not in known:
            raise RequestError(
                f"`override` names {check!r}, which is no check that can be passed over.",
                did_you_mean(check, known) or f"Those are {', '.join(known)}.",
            )
    if not _text(body.why, "why"):
        raise RequestError(
            f"Passing over the check {', '.join(checks)} needs a reason.", "Give it in `why`."
        )
    return checks


def _commit(value: str | None, operation: Operation) -> str:
    commit = _text(value, "commit")
    if commit == SAME_COMMIT and operation is not Operation.RERUN_FAILED:
        raise RequestError("Only the operation `rerun_failed` takes the commit `same`.")
    if commit and (".." in commit or not COMMIT.fullmatch(commit)):
        raise BadCommit(
            f"{commit!r} is neither a commit's SHA nor a tag's name.",
            "Leave it out for the newest commit.",
        )
    return commit


def _window(body: RunRequest, operation: Operation) -> tuple[str, str]:
    start, end = (_text(getattr(body, name), name) for name in TIMES)
    if not start and not end:
        return "", ""
    if operation is Operation.FULL_REFRESH:
        raise RequestError(
            WINDOW_REFRESHED,
            "Ask for a `build` with the window: it builds those batches again, and no others.",
        )
    if operation is Operation.UNDO_REFRESH:
        raise RequestError("An undo brings back whole tables, and takes no window.")
    if operation is Operation.RERUN_FAILED:
        raise RequestError("A rerun keeps the window of the run it runs again.")
    if operation is Operation.COMMAND:
        raise RequestError("A command brings its own --event-time-start and --event-time-end.")
    Window.asked(start, end, TIMES)
    return start, end
