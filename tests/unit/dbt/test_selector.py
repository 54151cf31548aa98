"""Which nodes a name means is what dbt's own look at every node finds."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from dbt.graph.selector_methods import QualifiedNameSelectorMethod

from mage_dbt.dbt.patches.selection import Names

WORDS = ("orders", "orders_v2", "v2", "v1", "1", "shop", "area", "a", "b")


def word(chance: random.Random) -> str:
    return ".".join(chance.choice(WORDS) for _ in range(chance.choice([1, 1, 1, 2])))


@pytest.mark.parametrize("seed", range(60))
def test_a_name_means_the_nodes_that_dbt_finds_by_looking_at_all(seed: int) -> None:
    chance = random.Random(seed)
    nodes = {
        f"node {number}": SimpleNamespace(
            fqn=[chance.choice(("shop", "a", "b.orders")), *(word(chance) for _ in range(size))],
            is_versioned=size > 1 and chance.random() < 0.3,
        )
        for number in range(40)
        for size in [chance.randrange(1, 4)]
    }
    names = Names(nodes.items())
    method = QualifiedNameSelectorMethod.__new__(QualifiedNameSelectorMethod)
    spoken = [
        ".".join(node.fqn[begin:end])
        for node in nodes.values()
        for begin in (0, 1)
        for end in (1, 2, 3, 4)
    ]
    for selector in {*spoken, *WORDS, *(f"{one}.{two}" for one in WORDS for two in WORDS), ""}:
        found = {
            one
            for one, node in names.perhaps(selector)
            if method.node_is_match(selector, node.fqn, node.is_versioned)
        }
        assert found == {
            one
            for one, node in nodes.items()
            if method.node_is_match(selector, node.fqn, node.is_versioned)
        }, selector
