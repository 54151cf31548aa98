"""Nodes are counted and called as dbt does it at the end of its own log."""

from __future__ import annotations

from types import SimpleNamespace

from dbt.artifacts.resources.types import NodeType
from dbt.task.printer import get_counts

from mage_dbt.model.counts import Kind, counts, hooks, in_words, number

KINDS: list[Kind] = [
    ("seed", "seed"),
    *[("model", "table")] * 3,
    ("model", "incremental"),
    *[("model", "view")] * 2,
    ("model", "materialized_view"),
    ("snapshot", "snapshot"),
    *[("test", "test")] * 2,
    ("unit_test", ""),
    *[("operation", "view")] * 2,
    *[("analysis", "view")] * 2,
    ("function", "function"),
]


def by_dbt(kinds: list[Kind]) -> str:
    nodes = [
        SimpleNamespace(resource_type=NodeType(kind), get_materialization=lambda way=way: way)
        for kind, way in kinds
    ]
    return str(get_counts(nodes))


def test_the_words_are_those_of_dbts_own_last_line() -> None:
    assert in_words(KINDS) == by_dbt(KINDS)
    assert "3 table models" in in_words(KINDS) and "1 seed" in in_words(KINDS)
    for one in set(KINDS):
        for many in (1, 2):
            assert in_words([one] * many) == by_dbt([one] * many)


def test_an_ephemeral_model_is_not_counted_and_a_hook_is() -> None:
    ephemeral = ("model", "ephemeral")
    assert not counts(ephemeral) and counts(("operation", ""))
    assert in_words([ephemeral, ("model", "table")]) == "1 table model"
    assert number([ephemeral, *KINDS]) == len(KINDS)
    assert hooks(2) == "2 project hooks" and hooks(0) == ""
