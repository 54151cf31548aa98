"""One node of the live commit with its past: what its page and `GET /v1/models/{node}` show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from mage_dbt.model import codec
from mage_dbt.model.codec import Moment
from mage_dbt.model.commit import CommitLine
from mage_dbt.model.graph import Column
from mage_dbt.model.refresh import ColumnChange, Kept


class NoRefresh(StrEnum):
    """Why a full refresh of a node makes no sense."""

    VIEW = "view"
    """It holds no rows of its own."""
    SNAPSHOT = "snapshot"
    """Its rows are history that no query gives again."""
    EPHEMERAL = "ephemeral"
    """It is no relation."""
    KEPT = "kept"
    """`full_refresh: false` in its configuration keeps its rows."""
    OTHER = "other"
    """dbt builds it in a way of its own."""
    GONE = "gone"
    """The live commit does not have it."""


@dataclass(frozen=True)
class PastResult:
    """One result of a node, with the run that it is of."""

    __pydantic_config__ = codec.DESCRIBED

    run: str
    at: Moment
    status: str
    """dbt's."""
    seconds: float
    rows: int | None
    """Rows that the statement reported; failures for a test."""
    message: str
    because: str
    """For a skipped node: the upstream that failed."""
    operation: str
    cause: str
    caller: str
    commit: str
    commit_subject: str
    built: bool
    """Whether it changed what people read: it passed, and its run neither only compiled nor was
    an undo nor a refresh that was discarded."""


@dataclass(frozen=True)
class GoneModel:
    """A model, seed or snapshot that the live commit no longer has. dbt drops no table because of
    that, so what it built is still there, unless somebody has dropped it."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    type: str
    materialized: str
    relation: str
    """As dbt writes it in SQL."""
    built_at: Moment
    built_run: str


@dataclass(frozen=True)
class LastResult:
    """The last result of a node, skipped ones left out where there is another."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    status: str
    at: Moment
    run: str


@dataclass(frozen=True)
class NodeTest:
    """A test of the node, and how often it failed."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    type: str
    """test or unit_test."""
    description: str
    last: LastResult | None
    results: int
    """How many results it has in the last 90 days."""
    known_since: Moment | None
    """When the first of these was; None without any."""
    failures_30: int
    """How many of the last 30 days are no passes: fail, error, and warn."""
    failures_90: int
    failed_at: Moment | None
    """When it last did not pass, within the last 90 days."""
    failed_run: str


@dataclass(frozen=True)
class Neighbour:
    """A node upstream or downstream."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    type: str
    distance: int
    """1 for what is read directly, or reads directly."""
    last: LastResult | None


@dataclass(frozen=True)
class Report:
    """An exposure that reads the node, perhaps through others."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    label: str
    url: str
    owner: str
    direct: bool


@dataclass(frozen=True)
class ShownModel:
    """A model, seed, snapshot or source of the live commit, or what the ledger knows of one that
    is gone."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    type: str
    commit: str
    """The live commit."""
    there: bool = True
    """Whether the live commit has it."""
    package: str = ""
    materialized: str = ""
    relation: str = ""
    description: str = ""
    path: str = ""
    """Its file, relative to the folder of dbt_project.yml."""
    tags: tuple[str, ...] = ()
    no_refresh: Annotated[NoRefresh, codec.AnyWord(NoRefresh)] | None = None
    """Why a full refresh makes no sense; null where it does."""
    columns: tuple[Column, ...] = ()
    """As the YAML describes them."""
    changed: tuple[ColumnChange, ...] = ()
    """How the columns of its table differ from those of its query."""
    changed_sentence: str = ""
    kept: Kept | None = None
    """The former relation that an undo brings back."""
    built: PastResult | None = None
    """The result by which its relation is as it is now."""
    usual_seconds: float | None = None
    """The median of its last builds."""
    results: tuple[PastResult, ...] = ()
    """The newest first."""
    compiled_run: str = ""
    """The run whose compiled SQL is the last one; `GET /v1/runs/{run}/nodes/{node}` has it."""
    tests: tuple[NodeTest, ...] = ()
    upstream: tuple[Neighbour, ...] = ()
    """The nearest first."""
    downstream: tuple[Neighbour, ...] = ()
    reports: tuple[Report, ...] = ()
    commits: tuple[CommitLine, ...] | None = ()
    """The last commits that changed its file, the newest first; null where git cannot tell."""
    source: str | None = None
    """Its file; null where there is none to show."""
    source_note: str = ""
    """Why there is none, or that it was cut."""
    graph_known: bool = True
    """Whether columns, tests and neighbours are known; not for a commit of an earlier version."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShownModel:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)
