"""How long a plan takes, and in what it is another one than the plan that was seen."""

from __future__ import annotations

from dataclasses import replace

from mage_dbt.ledger.ledger import SeenPlan
from mage_dbt.model.estimate import total_seconds
from mage_dbt.model.plan import Plan, PlannedNode
from mage_dbt.runner.preview import difference


def node(name: str, seconds: float | None, *reads: str, kind: str = "model") -> PlannedNode:
    depends_on = tuple(f"model.s.{one}" for one in reads)
    return PlannedNode(
        f"{kind}.s.{name}", name, kind, depends_on=depends_on, estimated_seconds=seconds
    )


def test_nodes_side_by_side_take_as_long_as_the_longest() -> None:
    nodes = [node("a", 10), node("b", 4), node("c", 5)]
    assert total_seconds(nodes, 3) == 10
    assert total_seconds(nodes, 2) == 10
    assert total_seconds(nodes, 1) == 19


def test_a_node_waits_for_what_it_reads_and_for_the_tests_of_that() -> None:
    nodes = [node("a", 10), node("t", 3, "a", kind="test"), node("b", 4, "a")]
    assert total_seconds(nodes, 8) == 17


def test_an_unknown_time_counts_as_none() -> None:
    assert total_seconds([node("a", None), node("b", 2, "a")], 1) == 2
    assert total_seconds([], 4) == 0


PLAN = Plan("a" * 40, (node("a", None), node("b", None)), command="build", target="prod")
SEEN = SeenPlan(PLAN.commit, PLAN.what(), {one.node: one.name for one in PLAN.nodes})


def test_what_differs_is_said_in_words() -> None:
    other = replace(
        PLAN, commit="b" * 40, nodes=(PLAN.nodes[0], node("c", None)), variables={"size": 4}
    )
    assert difference(SEEN, other) == (
        "another commit (aaaaaaa -> bbbbbbb); nodes added: c; nodes gone: b; "
        "other variables (none -> size=4)"
    )


def test_the_digest_is_of_the_work_and_not_of_what_is_said_of_it() -> None:
    assert replace(PLAN, warnings=("look out",), notes=("so",), threads=4).digest == PLAN.digest
    for other in (
        replace(PLAN, commit="b" * 40),
        replace(PLAN, command="run"),
        replace(PLAN, flags=("--full-refresh",)),
        replace(PLAN, variables={"size": 4}),
        replace(PLAN, target="night"),
        replace(PLAN, nodes=PLAN.nodes[::-1]),
    ):
        assert other.digest != PLAN.digest
