"""Why a run failed: one cause for each group of failures, with what is known about it.

The page, the tool, alerts and the API show this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from mage_dbt.model import codec
from mage_dbt.model.codec import Moment
from mage_dbt.model.failure import MANY, FailureClass


class ChangesNote(StrEnum):
    """Why a cause has no changes, where more follows from it; any other note is a text that begins
    `unknown: `."""

    SAME_COMMIT = "same commit"
    NO_CODE_CHANGED = "no code changed"
    NEVER_PASSED = "unknown: it has not passed before"


UNCHANGED = (ChangesNote.SAME_COMMIT, ChangesNote.NO_CODE_CHANGED)
"""Notes of a cause that no change of code explains."""


class FileRole(StrEnum):
    """What a file is for a node, the likeliest cause of its failure first."""

    MODEL = "model"
    YAML = "yaml"
    MACRO = "macro"
    UPSTREAM = "upstream"
    SEED = "seed"
    PROJECT = "project"


class NoDiff(StrEnum):
    """Why a changed file has no diff."""

    SHOWN = ""
    """It has one."""
    BINARY = "binary"
    """It is no text, or very large."""
    RENAMED = "renamed only"
    MODE = "mode only"
    EMPTY = "empty"
    TOO_MANY = "too many files"
    UNKNOWN = "unknown"


class Ending(StrEnum):
    """How an earlier failure ended."""

    REPAIRED = "repaired"
    OPEN = "open"
    UNKNOWN = "unknown"
    """The node is gone."""


@dataclass(frozen=True)
class Passed:
    """The last time that a node passed before it failed."""

    __pydantic_config__ = codec.DESCRIBED

    run: str
    commit: str
    at: Moment


@dataclass(frozen=True)
class ChangedFile:
    """A file of which the failed node is made, and what changed in it since the node passed."""

    __pydantic_config__ = codec.DESCRIBED

    path: str
    """Relative to the repository's top."""
    role: Annotated[FileRole, codec.AnyWord(FileRole)]
    """What it is for the node."""
    commit: str
    """The last commit that changed it."""
    author: str
    at: Moment
    subject: str
    diff: str
    """git's unified diff without its heading; cut after some hundred lines."""
    cut: bool = False
    note: Annotated[NoDiff, codec.AnyWord(NoDiff)] = NoDiff.SHOWN
    """Why there is no diff; empty where there is one."""


@dataclass(frozen=True)
class RowsOnDay:
    """How many rows a node wrote in one daily build."""

    __pydantic_config__ = codec.DESCRIBED

    day: str
    """The local date, ISO 8601."""
    node: str
    name: str
    rows: int | None


@dataclass(frozen=True)
class FailingRow:
    """A row that a failing test found."""

    __pydantic_config__ = codec.DESCRIBED

    values: tuple[str | None, ...]
    """By column, as text, each at most 200 characters; None for NULL."""
    new: bool | None = None
    """Whether the test did not find it the last time it failed; None where that is not known."""


@dataclass(frozen=True)
class FailingRows:
    """What a failing test found, as it was at the failure."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    columns: tuple[str, ...]
    hidden: tuple[str, ...]
    """Columns whose values are not shown: they look like secrets, or are tagged so."""
    rows: tuple[FailingRow, ...]
    """As many as FAILING_ROWS says."""
    total: int | None = None
    """How many rows the test found, where it was counted."""
    note: str = ""
    """Why there are no rows, or not all."""


@dataclass(frozen=True)
class FailedNode:
    """A node that failed for a cause."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    type: str
    path: str
    """Its file, relative to the folder of dbt_project.yml; empty where it is not known."""
    message: str
    """The database's words first, whole."""
    line: int | None = None
    """The line of the compiled SQL that the database points to."""
    excerpt: tuple[str, ...] = ()
    """That line of the compiled SQL and its neighbours."""
    excerpt_from: int = 1
    """The number of the excerpt's first line."""
    tested: str = ""
    """For a test, the name of the model or source that it tests."""
    tested_node: str = ""
    """Its unique id."""
    status: str = ""
    """dbt's: `fail` for a test that found rows, `error` for what could not run."""
    hint: str = ""
    """What may repair it, where the database or the workspace knows."""
    gone: bool = False
    """Whether the live commit no longer has it, so that nothing can run it again."""
    object: str = ""
    """The table or schema that is missing, or that it may not use, where its message tells."""


@dataclass(frozen=True)
class Stale:
    """A relation that still shows an earlier state because of a cause."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    as_of: Moment | None
    """When it was last built; None when it never was, or not within the ledger's memory."""
    exposures: tuple[str, ...] = ()
    """Names (labels) of the exposures that read it."""


@dataclass(frozen=True)
class Seen:
    """An earlier failure of the same cause."""

    __pydantic_config__ = codec.DESCRIBED

    run: str
    node: str
    name: str
    at: Moment
    ended: Annotated[Ending, codec.AnyWord(Ending)]
    after_seconds: float | None = None
    """From the failure until the node passed again."""
    commit: str = ""
    """The commit with which it passed again, where that is another one than it failed with."""
    subject: str = ""
    author: str = ""
    by: str = ""
    """Who ran what passed again."""


@dataclass(frozen=True)
class Cause:
    """One cause, and everything that failed or waits because of it."""

    __pydantic_config__ = codec.DESCRIBED

    failure_class: Annotated[FailureClass, codec.AnyWord(FailureClass)]
    sqlstate: str
    title: str
    signature: str
    nodes: tuple[FailedNode, ...]
    """What failed, the first failure first."""
    waiting: tuple[str, ...] = ()
    """Names of models, seeds and snapshots that were skipped because of it."""
    waiting_tests: int = 0
    """How many tests were skipped because of it."""
    passed: Passed | None = None
    """When the first of its nodes last passed."""
    changes: tuple[ChangedFile, ...] = ()
    """What changed in its files since then, the likeliest first."""
    changes_note: str = ""
    """`same commit`, `no code changed`, `unknown: …`; empty when there are changes."""
    history: tuple[RowsOnDay, ...] = ()
    """Rows of the node and what it reads in the last 14 daily builds, when no code changed."""
    came: ChangedFile | None = None
    """Of a node that has not passed before: the last change of its own file, without a diff."""
    refresh: str = ""
    """The unique id of the model or seed whose full refresh may repair it; empty for none, and once
    it has passed since."""
    failing_rows: FailingRows | None = None
    seen: tuple[Seen, ...] = ()
    """Earlier failures of the same cause, the newest first, at most five."""
    seen_total: int = 0
    stale: tuple[Stale, ...] = ()
    sentence: str = ""
    """What happened, for people who do not know dbt; the page has it in their language."""
    advice: str = ""
    """What to do about it, likewise."""

    @property
    def objects(self) -> tuple[str, ...]:
        """The tables or schemas that are missing, or that its nodes may not use, each once."""
        return tuple(dict.fromkeys(node.object for node in self.nodes if node.object))

    @property
    def of_many_objects(self) -> bool:
        """Whether many objects are missing, or forbidden, which is one cause."""
        return len(self.objects) >= MANY

    def nodes_of(self, object: str) -> tuple[FailedNode, ...]:
        """The nodes whose message names this object."""
        return tuple(node for node in self.nodes if node.object == object)


@dataclass(frozen=True)
class Explanation:
    """Why a run failed, and what follows from it."""

    __pydantic_config__ = codec.DESCRIBED

    run: str
    causes: tuple[Cause, ...]
    """Most consequences first."""
    left: int
    """How many nodes have not passed since, in any run."""
    whole_at: Moment | None = None
    """When everything would be whole, if what is left were rerun now; None where nothing tells,
    and where a rerun on the live commit fails again."""
    over_by: Moment | None = None
    """By when it should be whole: DAILY_BUILD_OVER_BY; None for a run that is no daily build's."""
    gone: int = 0
    """How many nodes have not passed since, and are no longer in the live commit; not in `left`."""
    unchanged: bool = False
    """Whether the run was ended before it had changed anything, so that nothing is left of it."""
    rerun_seconds: float | None = None
    """How long a rerun of what is left takes, as its nodes took lately, also where it fails again;
    None where nothing tells."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Explanation:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)
