"""A list inside a sentence: the first names, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence

MOST_NAMED = 5
"""Names in one sentence; more are counted."""


def short_list(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """`a, b, c and 45 more`."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown
