"""A full refresh built aside: what a preview shows, what was checked and compared, what is kept.

The new rows are built in a schema of their own, checked, compared with the present ones, and
swapped in by one transaction. The former relation is kept for some days, so a refresh can be
undone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

from mage_dbt.model import codec
from mage_dbt.model.codec import Moment
from mage_dbt.model.windows import Window


class CheckName(StrEnum):
    """What must hold before a swap."""

    TESTS = "tests"
    """dbt's tests of everything that was built aside."""
    ROWS = "rows"
    """The number of rows is within REFRESH_ROWS_PERCENT of the present number."""
    KEY = "key"
    """`unique_key` is unique and not null."""
    SNAPSHOT = "snapshot"
    """No open transaction is older than the new rows: it would see none of them."""
    WRITES = "writes"
    """Nobody else has changed the relation, or what depends on it, since the build began."""
    DEPENDENTS = "dependents"
    """The views on the relation fit the new columns."""


OVERRIDABLE = (CheckName.TESTS, CheckName.ROWS, CheckName.KEY, CheckName.SNAPSHOT)
"""The checks that a person may override, with a reason."""


@dataclass(frozen=True)
class ColumnChange:
    """A column that a refresh adds, removes or changes in type."""

    __pydantic_config__ = codec.DESCRIBED

    name: str
    before: str = ""
    """Its type now; empty for a column that is added."""
    after: str = ""
    """Its type afterwards; empty for a column that is removed."""

    def __str__(self) -> str:
        if not self.before:
            return f"+ {self.name} {self.after}"
        if not self.after:
            return f"- {self.name} {self.before}"
        return f"{self.name} {self.before} -> {self.after}"


@dataclass(frozen=True)
class Dependent:
    """Something that depends on a relation."""

    __pydantic_config__ = codec.DESCRIBED

    kind: str
    """The server's word: view, materialized view, function."""
    name: str
    """With its schema."""
    owner: str = ""
    columns: tuple[str, ...] = ()
    """The columns of the relation that it uses; empty when it reads the relation indirectly."""
    direct: bool = True


@dataclass(frozen=True)
class Refusal:
    """Something that a swap cannot carry over."""

    __pydantic_config__ = codec.DESCRIBED

    what: str
    """A sentence that names it."""
    hint: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.what} {self.hint}".strip()


@dataclass(frozen=True)
class Kept:
    """A former relation that can be brought back."""

    __pydantic_config__ = codec.DESCRIBED

    run: str
    """The run that replaced it."""
    node: str
    relation: str
    """Where it stood: schema and name."""
    schema: str
    """Where it is kept."""
    kind: str
    """table or view."""
    at: Moment
    """When it was replaced."""
    until: Moment
    """When the daily build may drop it."""
    bytes: int = 0


@dataclass(frozen=True)
class Preview:
    """What a refresh, or its undo, would do to one relation."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    relation: str
    """As people write it: schema and name."""
    exists: bool = True
    columns: tuple[ColumnChange, ...] = ()
    columns_unknown: str = ""
    """Why the new columns are not known before the build; empty when they are."""
    rows: int | None = None
    """The server's estimate of the present rows."""
    bytes: int | None = None
    """Of the present relation with TOAST, without indexes."""
    index_bytes: int | None = None
    free_bytes: int | None = None
    """Free disk of the server, where it can be known."""
    dependents: tuple[Dependent, ...] = ()
    carried: tuple[str, ...] = ()
    """What the new relation gets from the present one, a phrase each: `select for reader`."""
    refusals: tuple[Refusal, ...] = ()
    kept: Kept | None = None
    """For an undo: what is brought back."""
    loses_rows: int | None = None
    """For an undo, where it was counted: rows whose `unique_key` is only in the present relation.
    Without a key only 0 is known: every row is in the former relation too."""
    changes_rows: int | None = None
    """For an undo by key: rows that are in both with other values, and get the former ones."""
    differing_rows: int | None = None
    """For an undo without a key: rows that the former relation lacks as they are. They came since,
    or have other values; nobody can tell."""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preview:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)

    def losing(self, found: Comparison) -> Preview:
        """The preview of an undo with what it takes, by this comparison of the present rows with
        the former ones."""
        if found.sampled or found.only_before is None:
            return self
        if found.key:
            return replace(self, loses_rows=found.only_before, changes_rows=found.changed)
        differing = found.only_before
        return replace(self, loses_rows=None if differing else 0, differing_rows=differing)

    def digest_parts(self) -> list[Any]:
        """What must be the same when it runs."""
        return [
            self.node,
            self.exists,
            [str(change) for change in self.columns],
            sorted(f"{dependent.kind} {dependent.name}" for dependent in self.dependents),
            sorted(refusal.what for refusal in self.refusals),
        ]


@dataclass(frozen=True)
class Check:
    """The outcome of one check of one relation, or of all (an empty `node`)."""

    __pydantic_config__ = codec.DESCRIBED

    name: Annotated[CheckName, codec.AnyWord(CheckName)]
    passed: bool
    text: str
    """A sentence with the numbers."""
    node: str = ""
    overridden: bool = False
    applies: bool = True
    """False where there was nothing to check, as of a model without tests; it passes then."""

    @property
    def stops(self) -> bool:
        return not self.passed and not self.overridden


@dataclass(frozen=True)
class ColumnComparison:
    """How one column differs between the present rows and the new ones."""

    __pydantic_config__ = codec.DESCRIBED

    name: str
    before: str = ""
    """Its type now; empty for an added column."""
    after: str = ""
    changed_rows: int | None = None
    """Among the rows with the same key; None without a key, or where it is on one side only."""
    nulls_before: int | None = None
    nulls_after: int | None = None
    distinct_before: int | None = None
    """The server's estimate of distinct values, by its last ANALYZE."""
    distinct_after: int | None = None
    examples: tuple[tuple[str, str | None, str | None], ...] = ()
    """Up to ten: key, value before, value after. Of a column that one side has, its most common
    values, with their share (`80 %`, by the server's estimate) in place of a key."""


@dataclass(frozen=True)
class Comparison:
    """The present rows of a relation against the new ones."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    key: tuple[str, ...] = ()
    """The columns or expressions by which rows were paired; empty when whole rows were compared."""
    sampled: str = ""
    """A sentence on the sample: `1 in 16 keys, by a hash of the key`; empty for all rows."""
    rows_before: int = 0
    rows_after: int = 0
    only_before: int | None = None
    """Of the compared rows. None where `unknown` says why."""
    only_after: int | None = None
    changed: int | None = None
    """Rows with the same key of which some column that both have differs."""
    only_before_rows: tuple[Mapping[str, str | None], ...] = ()
    """Up to ten, by column."""
    only_after_rows: tuple[Mapping[str, str | None], ...] = ()
    columns: tuple[ColumnComparison, ...] = ()
    """Those that differ in any way; the others are equal in every compared row."""
    equal_columns: int = 0
    """0 too where whole rows differ: nobody knows in which columns."""
    notes: tuple[str, ...] = ()
    """Sentences on how it was compared."""
    unknown: str = ""
    """Why rows were not compared, as `120 s are too few`; empty when they were."""
    seconds: float = 0.0


class Step(StrEnum):
    """What a refresh has done, in its order."""

    ASIDE = "aside"
    """The schema aside is there; dbt builds into it."""
    BUILT = "built"
    """A node was built aside."""
    BATCHES = "batches"
    """A microbatch model begins to fill these windows."""
    BATCH = "batch"
    """It has filled this window."""
    CHECKED = "checked"
    COMPARED = "compared"
    REHEARSED = "rehearsed"
    WAITS = "waits"
    """For a transaction, for a lock, or for a look at what a dead runner has left."""
    HOLDS = "holds"
    """Somebody wants to see the comparison first."""
    SWAPPED = "swapped"
    RESUMABLE = "resumable"
    """It failed, and a rerun goes on with the batches that are left."""
    DISCARDED = "discarded"
    """What was built aside is dropped; nothing has changed."""
    EXPIRED = "expired"
    """Former relations were dropped, their time being over."""
    RESTORED = "restored"
    """Views that dbt dropped along were put back."""


@dataclass(frozen=True)
class RefreshStep:
    """An event of a refresh."""

    __pydantic_config__ = codec.DESCRIBED

    step: Annotated[Step, codec.AnyWord(Step)]
    text: str
    """A sentence for people."""
    at: Moment | None = None
    node: str = ""
    check: Check | None = None
    comparison: Comparison | None = None
    kept: tuple[Kept, ...] = ()
    windows: tuple[Window, ...] = ()
    """For `batches` and `batch`: the windows of event time."""
    until: Moment | None = None
    """For `holds`: when what was built aside is dropped. For `swapped`: until when it can be
    undone. For `resumable`: until when a rerun goes on with the batches."""
    lock_seconds: float | None = None
    """For `swapped`: how long readers were locked out, at most."""
    wait_seconds: float | None = None
    """For `swapped`: the longest time that one try waited for its locks."""
    tries: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RefreshStep:
        return codec.read(cls, data)

    def of_event(self) -> dict[str, Any]:
        """The data of its event, which has the time itself."""
        return {name: value for name, value in codec.plain(self).items() if name != "at"}


@dataclass(frozen=True)
class RefreshOptions:
    """How a refresh is done: by the settings and by its request."""

    keep_days: int = 7
    rows_percent: tuple[int, int] = (95, 200)
    """The fewest and the most new rows that pass, in percent of the present ones."""
    hold_seconds: int = 0
    """How long it waits for a decision after the comparison; 0 swaps at once."""
    snapshot_seconds: int = 300
    """How long it waits for transactions that are older than the new rows."""
    lock_seconds: int = 300
    """How long it tries to get its locks."""
    compare_seconds: int = 120
    """How long the comparison of one relation may take; 0 compares nothing."""
    override: tuple[str, ...] = ()
    """Names of checks that do not stop it."""
