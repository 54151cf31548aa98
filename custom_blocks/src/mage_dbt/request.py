"""A Request: what somebody asked for, checked once, where it comes in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from mage_dbt.command import WINDOW_REFRESHED, Command
from mage_dbt.errors import (
    BadCommit,
    BadSelection,
    RequestError,
    UnknownOperation,
    did_you_mean,
)
from mage_dbt.selection import LONGEST_CRITERION, MOST_CRITERIA, criteria
from mage_dbt.variables import read as read_variables
from mage_dbt.variables import to_json
from mage_dbt.windows import Window

TIMES = ("event_time_start", "event_time_end")

LONGEST_TEXT = 2_000
"""Characters in one text of a request: more is a mistake or an attack."""

SAME_COMMIT = "same"

# No leading dash (git would take it for an option), nothing that git reads as an operator.
COMMIT = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.+/-]{0,198}[0-9A-Za-z_+-])?")

DIGEST = re.compile(r"[0-9a-f]{64}")


class Operation(StrEnum):
    """What a run does."""

    BUILD = "build"
    FULL_REFRESH = "full_refresh"
    RERUN_FAILED = "rerun_failed"
    COMMAND = "command"


class Cause(StrEnum):
    """Which door a request came through."""

    SCHEDULE = "schedule"
    START = "start"
    FORM = "form"
    TOOL = "tool"
    API = "api"


@dataclass(frozen=True)
class Request:
    """What somebody asked for. Build one with `Request.parse`; that is where it is checked."""

    operation: Operation
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
    variables: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    command: str = ""
    """For operation `command`: what one would type after `dbt`."""
    of: str | None = None
    """For operation `rerun_failed`: the run whose unfinished business this is; None for the last
    daily build."""
    commit: str = ""
    """A SHA or tag of the synced branch; `same` for that of `of`; empty for the newest ready."""
    digest: str = ""
    """The plan somebody has seen; the request is refused when it would run another one."""
    why: str = ""
    cause: Cause = Cause.API
    caller: str = "unknown"
    key: str | None = None
    """The idempotency key: the same key is the same run."""
    mage_run: int | None = None
    """The Mage pipeline run this belongs to; cancelling that cancels this."""
    wait_for_commit: bool | None = None
    """Whether a newer commit that is being made ready is waited for; None for a rerun that names
    neither commit nor plan, which then waits, and for others, which do not."""
    keep_views: bool = False
    """Whether a full refresh is refused when it would drop views that it does not rebuild. The door
    decides it by who asks (`identity/rights.py`)."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Request:
        """Reads a request from plain data, as it comes from JSON or from a form.

        `select` and `exclude` may be one text with criteria separated by spaces, or a list;
        `variables` a mapping, or the text that one would give to `dbt --vars`.
        Raises a RequestError that names the field.
        """
        known = {one.name for one in fields(cls)}
        for name in data:
            if name not in known:
                raise RequestError(f"Unknown field {name!r}.", did_you_mean(str(name), known))
        operation = _one_of(Operation, data.get("operation", "build"), "operation")
        command = _text(data, "command")
        of = _text(data, "of") or None
        select = _criteria(data.get("select"), "select")
        exclude = _criteria(data.get("exclude"), "exclude")
        models = _models(data.get("models"))
        if models and (select or exclude):
            raise BadSelection(
                "`models` names all that is chosen: leave `select` and `exclude` out."
            )
        window = _window(data, operation)
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
        if operation is not Operation.RERUN_FAILED and of:
            raise RequestError("Only the operation `rerun_failed` takes `of`.")
        commit = _text(data, "commit")
        if commit == SAME_COMMIT and operation is not Operation.RERUN_FAILED:
            raise RequestError("Only the operation `rerun_failed` takes the commit `same`.")
        if commit and (".." in commit or not COMMIT.fullmatch(commit)):
            raise BadCommit(
                f"{commit!r} is neither a commit's SHA nor a tag's name.",
                "Leave it out for the newest commit.",
            )
        wait = data.get("wait_for_commit")
        if wait is not None and not isinstance(wait, bool):
            raise RequestError("`wait_for_commit` is true or false.")
        if wait and commit:
            raise RequestError("`wait_for_commit` is for the newest commit: leave `commit` out.")
        digest = _text(data, "digest")
        if digest and not DIGEST.fullmatch(digest):
            raise RequestError("`digest` is the 64 hex digits that a plan gives.")
        mage_run = data.get("mage_run")
        if mage_run is not None and (isinstance(mage_run, bool) or not isinstance(mage_run, int)):
            raise RequestError("`mage_run` is a number.")
        return cls(
            operation=operation,
            select=select,
            exclude=exclude,
            models=models,
            with_upstream=_switch(data, "with_upstream", models),
            with_downstream=_switch(data, "with_downstream", models),
            event_time_start=window[0],
            event_time_end=window[1],
            variables=MappingProxyType(read_variables(data.get("variables"))),
            command=command,
            of=of,
            commit=commit,
            digest=digest,
            why=_text(data, "why"),
            cause=_one_of(Cause, data.get("cause", "api"), "cause"),
            caller=_text(data, "caller") or "unknown",
            key=_text(data, "key") or None,
            mage_run=mage_run,
            wait_for_commit=wait,
            keep_views=data.get("keep_views") is True,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data that `parse` reads back to the same request."""
        data = {one.name: getattr(self, one.name) for one in fields(self)}
        return data | {
            "select": list(self.select),
            "exclude": list(self.exclude),
            "models": list(self.models),
            "variables": to_json(self.variables),
        }

    def what(self) -> dict[str, Any]:
        """What was asked for, without who asked and how: equal for equal requests."""
        data = self.to_json()
        for name in ("cause", "caller", "key", "mage_run", "keep_views", "wait_for_commit"):
            del data[name]
        return data

    @property
    def builds_everything(self) -> bool:
        """Whether nothing of the project is left out."""
        chosen = self.select or self.exclude or self.models
        return self.operation is Operation.BUILD and not chosen

    @property
    def waits_for_commit(self) -> bool:
        """Whether a newer commit that is being made ready is waited for."""
        if self.wait_for_commit is not None:
            return self.wait_for_commit
        rerun = self.operation is Operation.RERUN_FAILED
        return rerun and not self.commit and not self.digest

    def dbt_command(self) -> Command:
        """The dbt command line this request stands for, selection included."""
        if self.operation is Operation.COMMAND:
            return Command.parse(self.command)
        flags: tuple[str, ...] = (
            ("--full-refresh",) if self.operation is Operation.FULL_REFRESH else ()
        )
        window = None
        if self.event_time_start:
            window = Window.asked(self.event_time_start, self.event_time_end, TIMES)
            flags += window.flags()
        return Command("build", self.select, self.exclude, flags, window)

    def does_all_of(self, other: Request) -> bool:
        """Whether a node that passed in a run of this had done to it what `other` asks for."""
        if not other.dbt_command().writes:
            return True
        same = dict(self.variables) == dict(other.variables)
        return same and self.dbt_command().does_all_of(other.dbt_command())

    def fills_as(self, other: Request) -> bool:
        """The same of a microbatch model, whose runs tell themselves which window they filled."""
        same = dict(self.variables) == dict(other.variables)
        mine, theirs = (replace(one.dbt_command(), window=None) for one in (self, other))
        return same and mine.does_all_of(theirs)


def _one_of(kind: type[Any], value: object, name: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        choices = [str(one) for one in kind]
        raise UnknownOperation(
            f"{value!r} is not a known {name}.",
            did_you_mean(str(value), choices) or f"Known are {', '.join(choices)}.",
        ) from None


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name) or ""
    if not isinstance(value, str):
        raise RequestError(f"`{name}` is a text.")
    if len(value) > LONGEST_TEXT:
        raise RequestError(f"`{name}` is longer than {LONGEST_TEXT} characters.")
    if "\x00" in value:
        raise RequestError(f"`{name}` holds a NUL character.")
    return value.strip()


def _criteria(value: object, name: str) -> tuple[str, ...]:
    if value is None:
        return ()
    parts = value.split() if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise BadSelection(f"`{name}` is a text or a list of texts.")
    return criteria(parts, f"`{name}`")


def _models(value: object) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    parts = value.split() if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise BadSelection("`models` is a text or a list of texts.")
    if len(parts) > MOST_CRITERIA:
        raise BadSelection("`models` is too long.")
    for part in parts:
        if not part or len(part) > LONGEST_CRITERION or not part.isprintable():
            raise BadSelection(f"{part[:100]!r} in `models` is no model's name.")
    return tuple(dict.fromkeys(parts))


def _switch(data: Mapping[str, Any], name: str, models: tuple[str, ...]) -> bool:
    value = data.get(name)
    if value is not None and not isinstance(value, bool):
        raise RequestError(f"`{name}` is true or false.")
    if value and not models:
        raise RequestError(f"`{name}` goes with `models`.", "In `select` write +model or model+.")
    return bool(value)


def _window(data: Mapping[str, Any], operation: Operation) -> tuple[str, str]:
    start, end = (_text(data, name) for name in TIMES)
    if not start and not end:
        return "", ""
    if operation is Operation.FULL_REFRESH:
        raise RequestError(WINDOW_REFRESHED, "Ask for a build: the window is replaced.")
    if operation is Operation.RERUN_FAILED:
        raise RequestError("A rerun keeps the window of the run it runs again.")
    if operation is Operation.COMMAND:
        raise RequestError("A command brings its own --event-time-start and --event-time-end.")
    Window.asked(start, end, TIMES)
    return start, end
