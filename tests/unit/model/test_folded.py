"""Skipped nodes in few words: one line a cause, however many there are."""

from __future__ import annotations

from mage_dbt.base.lists import short_list
from mage_dbt.model.folded import by_cause
from mage_dbt.model.run import NodeResult


def skipped(name: str, because: str = "", message: str = "", kind: str = "model") -> NodeResult:
    return NodeResult(f"{kind}.m.{name}", name, kind, "skipped", 0.0, None, message, because)


def test_what_one_cause_kept_from_running_is_one_line_that_counts() -> None:
    nodes = [skipped(f"m{n}", "fct_orders") for n in range(48)]
    assert [str(one) for one in by_cause([*nodes, skipped("b", "dim")])] == [
        "48 skipped because of fct_orders: m0, m1, m2, m3, m4 and 43 more",
        "1 skipped because of dim: b",
    ]


def test_models_are_named_before_their_tests_and_what_is_not_skipped_is_not_there() -> None:
    test = skipped("unique_a_id", "fct", kind="test")
    passed = NodeResult("model.m.p", "p", "model", "success")
    (only,) = by_cause([test, passed, skipped("a", "fct")])
    assert only.names == ["a", "unique_a_id"]


def test_nodes_that_no_node_kept_from_running_are_folded_by_what_did() -> None:
    why = "Not reached: dbt's process ended early: it was killed."
    (only,) = by_cause([skipped("a", message=why), skipped("b", message=why)])
    assert str(only) == f"2 skipped: a, b\n{why}"


def test_a_thousand_causes_are_as_many_lines_the_largest_first() -> None:
    nodes = [skipped(f"m{n}", f"cause{n % 7 if n < 70 else n}") for n in range(80)]
    found = by_cause(nodes)
    assert [len(one.nodes) for one in found] == [10] * 7 + [1] * 10
    assert sum(len(one.nodes) for one in found) == 80


def test_a_short_list_says_how_many_it_leaves_out() -> None:
    assert short_list(["a", "b"]) == "a, b"
    assert short_list(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert short_list(list("abcdefg"), 3) == "a, b, c and 4 more"
