"""The story of a run: the run at its root and every rerun, a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from mage_dbt.model import codec
from mage_dbt.model.codec import Moment
from mage_dbt.model.request import Operation
from mage_dbt.model.run import RunState


@dataclass(frozen=True)
class Chapter:
    """One run of a story."""

    __pydantic_config__ = codec.DESCRIBED

    run: str
    operation: Annotated[Operation, codec.AnyWord(Operation)]
    asked_at: Moment
    finished_at: Moment | None
    state: Annotated[RunState, codec.AnyWord(RunState)]
    caller: str
    commit: str
    failed: tuple[str, ...]
    """The names of the nodes that failed."""
    notes: tuple[str, ...]
    text: str
    """The whole chapter in a sentence."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Chapter:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)
