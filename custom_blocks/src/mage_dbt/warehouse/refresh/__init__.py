"""A full refresh that no reader notices, on one kind of server: the interface of `Refresher`.

Relations are built aside under their own names, in schemas that nobody else may use. So indexes and
constraints keep their names, and a swap only moves relations from one schema to another. The former
relation is kept in a third schema, whose comment says what it is. What is aside and what is kept is
always looked up in the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from mage_dbt.base.redaction import hides_its_value
from mage_dbt.model.refresh import (
    Check,
    CheckName,
    Comparison,
    Kept,
    Preview,
    RefreshOptions,
)
from mage_dbt.warehouse.names import Name

Report = Callable[[str], None]
"""Takes a sentence for people while something is waited for."""


class RefreshRefused(Exception):
    """A refresh stops, and nothing has changed. It says why, with names, and what to do."""

    def __init__(self, message: str, hint: str = "", check: CheckName | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.check = check
        """The check that refuses, where a person may override it."""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


@dataclass(frozen=True)
class Part:
    """One relation of a refresh; `incoming` takes the place of `live`."""

    node: str
    name: str
    """The model's name, for sentences."""
    live: Name
    incoming: Name
    """Where it is built, in the schema of `aside_schema`. For an undo: where it is kept."""
    is_view: bool = False
    """Whether the incoming relation is a view."""
    key: tuple[str, ...] = ()
    """`unique_key`: columns, or one SQL expression; empty without one."""
    hides: Callable[[str], bool] = hides_its_value
    """Whether values of a column of this name are shown to nobody."""


@dataclass(frozen=True)
class State:
    """What a refresh found when it began; `swap` compares it under its locks."""

    properties: Mapping[str, Any] = field(default_factory=dict)
    """By node: a value of the server's own module; equal when nothing was changed."""
    markers: Mapping[str, Any] = field(default_factory=dict)
    """By node, for tables: the number of rows, and what shows that somebody has written since."""


@dataclass(frozen=True)
class Swapped:
    """A swap that has happened."""

    kept: tuple[Kept, ...]
    lock_seconds: float
    """From the first lock that keeps readers out until the commit."""
    wait_seconds: float
    """The longest time in which one try held a lock and waited for the next."""
    tries: int


class Refresher(Protocol):
    """The refreshes of one server, over one connection, as the role that dbt uses.

    `run` is the id of the run that refreshes; the schemas carry it. Every method raises
    RefreshRefused where it cannot go on, and leaves the live relations as they are.
    """

    def aside_schema(self, run: str, schema: str, others: Sequence[str]) -> str:
        """The schema in which relations of `schema` are built; `others` are all schemas of the run,
        in order."""

    def preview(self, parts: Sequence[Part], queries: Mapping[str, str]) -> list[Preview]:
        """What would happen to each part. Changes nothing.

        `queries` are compiled queries by node. The columns of a node without one are not known. The
        swap is rehearsed with empty relations.
        """

    def adopt(self, earlier: str, run: str, parts: Sequence[Part]) -> bool:
        """Makes what an earlier run has built aside this run's; False when it is not there."""

    def give_back(self, run: str) -> str:
        """Undoes `adopt`, where that has happened; returns the earlier run then, else nothing."""

    def begin(self, run: str, parts: Sequence[Part]) -> State:
        """Makes the schemas aside that are not there; returns the present state."""

    def check(self, parts: Sequence[Part], state: State, options: RefreshOptions) -> list[Check]:
        """The checks ROWS and KEY of what was built."""

    def compare(self, part: Part, seconds: float) -> Comparison:
        """The present rows against the new ones, in about this time at most."""

    def rehearse(self, parts: Sequence[Part]) -> None:
        """Replays the swap on empty copies, in a transaction that is rolled back."""

    def settle(self, parts: Sequence[Part], options: RefreshOptions, report: Report) -> Check:
        """Freezes the new rows, and waits until every open transaction can see them."""

    def swap(
        self,
        run: str,
        parts: Sequence[Part],
        state: State,
        options: RefreshOptions,
        report: Report,
    ) -> Swapped:
        """Puts all parts in their places, in one transaction, and keeps what stood there."""

    def discard(self, run: str) -> bool:
        """Drops what the run has built aside; returns whether there was anything."""

    def has_aside(self, run: str) -> bool:
        """Whether anything is aside that the run has built."""

    def swapped(self, run: str) -> list[Kept]:
        """What the run has replaced, if its swap has happened."""

    def kept(self) -> list[Kept]:
        """All former relations that can be brought back, newest first."""

    def drop_expired(self, now: datetime, report: Report) -> list[Kept]:
        """Drops the former relations whose time is over, and what nobody has gone on with that was
        built aside; returns the former ones.

        What something else depends on is left, and `report` gets a sentence on it.
        """
