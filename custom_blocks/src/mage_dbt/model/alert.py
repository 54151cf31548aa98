"""The message of an alert: its kind, title and body."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from mage_dbt.model import codec
from mage_dbt.model.codec import Moment

LONGEST_TITLE = 80
"""Characters that a lock screen shows."""


class Kind(StrEnum):
    """What an alert is about: a failed run, a recovery, an overdue build, a broken commit, or news
    when nothing has failed."""

    FAILURE = "failure"
    RECOVERY = "recovery"
    OVERDUE = "overdue"
    BROKEN = "broken"
    NEWS = "news"


class DeliveryState(StrEnum):
    """What became of an alert on one channel."""

    UNTRIED = ""
    DELIVERED = "delivered"
    FAILED = "failed"
    """It is tried again."""
    NOT_DELIVERED = "not delivered"
    """Nor will it be."""


@dataclass(frozen=True)
class Message:
    """A message. The title states the fact in at most LONGEST_TITLE characters."""

    kind: Kind
    title: str
    body: str


@dataclass(frozen=True)
class Sent:
    """An alert, and what became of it on one channel."""

    __pydantic_config__ = codec.DESCRIBED

    at: Moment
    """When the alert was written."""
    kind: Annotated[Kind, codec.AnyWord(Kind)]
    title: str
    run: str | None
    channel: str
    """Line and service, never an address; empty when there was no channel."""
    outcome: Annotated[DeliveryState, codec.AnyWord(DeliveryState)]
    """Empty before the first try."""
    detail: str
    """Why it failed."""
    tried_at: Moment | None


@dataclass(frozen=True)
class AlertStatus:
    """Who gets alerts, and what could not be delivered.

    The runner knows this without the ledger, so a status has it while PostgreSQL is away.
    """

    __pydantic_config__ = codec.DESCRIBED

    told: tuple[str, ...] = ()
    """The channels, or why nobody is told."""
    problems: tuple[str, ...] = ()
    """Deliveries that have failed so far and are tried again."""


@dataclass(frozen=True)
class AlertOverview:
    """Who gets alerts, and what became of the last ones, which the ledger holds."""

    __pydantic_config__ = codec.DESCRIBED

    told: tuple[str, ...]
    """The channels, or why nobody is told."""
    problems: tuple[str, ...]
    """Deliveries that have failed so far and are tried again."""
    sent: tuple[Sent, ...]
    """The last alerts, the newest first, one for each channel."""

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)


@dataclass(frozen=True)
class Outcome:
    """What became of a test message on one channel; `problem` is empty when it was delivered."""

    channel: str
    problem: str
