"""Finds models by what somebody types into a picker: the best match first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import Any
from unicodedata import normalize

ALIKE = 0.75
"""How near a misspelt name must be; 1 is the same."""


def search(models: Iterable[Mapping[str, Any]], text: str) -> list[Mapping[str, Any]]:
    """The models that match, the best first; all of them by name when `text` is empty.

    Every word must be in the name or the description, in any case; a name that is only nearly the
    one typed comes last.
    """
    words = _letters(text).split()
    ranked = [(_rank(one, words), str(one["name"]), one) for one in models]
    found = [one for one in ranked if one[0] is not None]
    return [one for _, _, one in sorted(found, key=lambda one: one[:2])]


def _letters(text: str) -> str:
    """In small ones, and each the same however it is put together (a file of macOS, say)."""
    return normalize("NFC", text).lower()


def _rank(model: Mapping[str, Any], words: list[str]) -> int | None:
    """The smaller the better; None for no match."""
    name, description = _letters(str(model["name"])), _letters(str(model["description"]))
    if not words:
        return 0
    wanted = "_".join(words)
    if name == wanted:
        return 0
    if name.startswith(wanted):
        return 1
    if all(word in name for word in words):
        return 2
    if all(word in name or word in description for word in words):
        return 3
    return 4 if SequenceMatcher(None, wanted, name).ratio() >= ALIKE else None
