"""Counts of nodes, as dbt counts them in the last lines of its own log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

PLURALS = {"analysis": "analyses", "saved_query": "saved_queries", "test": "data_tests"}
"""dbt's plurals that are not the word with an s (`NodeType.pluralize`)."""

Kind = tuple[str, str]
"""A node's resource type in dbt, and its materialization (empty where it has none)."""


def counts(kind: Kind) -> bool:
    """Whether dbt counts a node. It does not count ephemeral models."""
    return kind != ("model", "ephemeral")


def number(kinds: Iterable[Kind]) -> int:
    return sum(map(counts, kinds))


def in_words(kinds: Iterable[Kind]) -> str:
    """`3 data tests, 2 incremental models, 1 seed`: dbt's `get_counts`, in its order."""
    found = Counter(_word(*kind) for kind in kinds if counts(kind))
    counted = (f"{count} {_plural(word, count)}" for word, count in sorted(found.items()))
    return ", ".join(counted).replace("_", " ")


def hooks(count: int) -> str:
    """`2 project hooks`; empty for none."""
    return in_words([("operation", "")] * count)


def _word(resource: str, materialized: str) -> str:
    if resource == "model":
        return f"{materialized} model".strip()
    return "project hook" if resource == "operation" else resource


def _plural(word: str, count: int) -> str:
    return word if count == 1 else PLURALS.get(word, f"{word}s")
