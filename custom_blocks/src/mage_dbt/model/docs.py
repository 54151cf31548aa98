"""dbt's documentation of the live commit: whether it is there yet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from mage_dbt.model import codec

DOCS_FILE = "docs.html.gz"
"""In a commit's folder, once somebody has asked for it: one page of HTML, packed."""


class DocsState(StrEnum):
    """Whether the documentation is there."""

    NONE = "none"
    """Nobody has asked for it, or it could not be made."""
    MAKING = "making"
    READY = "ready"


@dataclass(frozen=True)
class Docs:
    """How far the documentation of the live commit is."""

    __pydantic_config__ = codec.DESCRIBED

    state: Annotated[DocsState, codec.AnyWord(DocsState)]
    commit: str | None
    """The live commit; None without one."""
    error: str = ""
    """Why it could not be made; empty otherwise."""

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)
