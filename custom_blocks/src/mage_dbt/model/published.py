"""The commits of the synced branch, and what became of each: for the page and `GET /v1/commits`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from mage_dbt.model import codec
from mage_dbt.model.codec import Moment
from mage_dbt.model.now import Preparing
from mage_dbt.model.status import BrokenCommit, LiveCommit


class PublishedState(StrEnum):
    """What became of a commit here."""

    LIVE = "live"
    """Runs use it."""
    READY = "ready"
    """Runs used it, or can."""
    BROKEN = "broken"
    PREPARING = "being made ready"
    WAITING = "waiting"
    """It is newer than all that were tried."""
    SKIPPED = "skipped"
    """A newer one came before it was looked at."""


@dataclass(frozen=True)
class PublishedCommit:
    """One commit of the branch."""

    __pydantic_config__ = codec.DESCRIBED

    sha: str
    subject: str
    author: str
    committed_at: Moment
    files: int
    """How many files it changed; a merge's own count only where it solved conflicts."""
    state: Annotated[PublishedState, codec.AnyWord(PublishedState)]
    at: Moment | None
    """When it became ready, or turned out broken; None for any other state."""
    message: str
    """dbt's words on a broken one; empty otherwise."""


@dataclass(frozen=True)
class Published:
    """The live commit and its neighbours."""

    __pydantic_config__ = codec.DESCRIBED

    branch: str
    live: LiveCommit | None
    live_since: Moment | None
    """When it became ready here; None where the ledger does not know."""
    preparing: Preparing | None
    broken: BrokenCommit | None
    """The newest commit, when it cannot be made ready."""
    commits: tuple[PublishedCommit, ...]
    """The last ones, the newest first; empty where git cannot tell."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Published:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)
