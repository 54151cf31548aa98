"""What is measured: one way to get from a request to the model's SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Built:
    """One build, over and passed."""

    began: float
    """When it was asked for, in seconds since the epoch."""
    over: float


class Contender(Protocol):
    """One way. `prepare` once, unmeasured; then builds, in turn with the others."""

    name: str
    what: str
    """What it does from the request to the SQL, in one sentence, for the report."""
    builds_all: str
    """Empty when it can build the whole project; else why that is left out."""

    def prepare(self) -> None:
        """Starts what stays running, and fills what stays warm."""

    def build(self, model: str | None) -> Built:
        """Builds one model and its tests, or everything. Raises BuildFailed when not all passed."""

    def cpu(self) -> float:
        """CPU seconds so far of the processes that work for it; PostgreSQL's are nobody's."""

    def pids(self) -> list[int]:
        """The roots of the processes that work for it now."""

    def close(self) -> None:
        """Ends what `prepare` started."""


class BuildFailed(Exception):
    """A contender's build did not pass, so its time means nothing."""
