"""A patch: edits of one file of Mage's, each of which fits exactly once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Replaces `old`, which occurs exactly once in the file, by `new`."""

    old: str
    new: str


@dataclass(frozen=True)
class Patch:
    """Edits of one file of mage_ai whose bytes have this SHA-256."""

    file: str
    sha256: str
    edits: tuple[Edit, ...]
