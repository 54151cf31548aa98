"""Which relations the nodes of a plan read: through views and ephemeral models, once each."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from mage_dbt.dbt.graph import relations_read

SECONDS = 30.0
"""Of CPU: far more than it takes, and less than what grows with the square of the nodes."""


def node(name: str, kind: str, *reads: str) -> Any:
    return SimpleNamespace(
        unique_id=name,
        resource_type="model",
        relation_name=None if kind == "ephemeral" else name,
        config=SimpleNamespace(materialized=kind),
        depends_on=SimpleNamespace(nodes=list(reads)),
    )


NODES = {
    one.unique_id: one
    for one in (
        node("table", "table"),
        node("view", "view", "table"),
        node("over", "view", "view"),
        node("between", "ephemeral", "view", "other"),
        node("other", "table", "table"),
        node("end", "table", "over", "between"),
    )
}


def read(*planned: str) -> dict[str, tuple[str, ...]]:
    return relations_read({one: NODES[one] for one in planned}, NODES.__getitem__)


def test_who_reads_a_view_reads_what_is_behind_it() -> None:
    assert read("end") == {"end": ("other", "over", "table", "view")}
    assert read("over") == {"over": ("table", "view")}


def test_what_is_behind_a_view_of_the_same_plan_is_read_by_that_view() -> None:
    found = read("view", "over", "end")
    assert found == {"view": ("table",), "over": ("view",), "end": ("other", "over", "view")}
    assert {name for names in found.values() for name in names} >= {"table", "view", "other"}


def test_time_grows_with_the_edges_and_depth_has_no_limit() -> None:
    nodes = {
        f"l{layer}_{number}": node(
            f"l{layer}_{number}", "view", *(f"l{layer - 1}_{up}" for up in range(4) if layer)
        )
        for layer in range(1250)
        for number in range(4)
    }
    for n in range(5000):
        nodes[f"e{n}"] = node(f"e{n}", "ephemeral", f"e{n - 1}" if n else "l0_0")
    begun = time.process_time()
    whole = relations_read(nodes, nodes.__getitem__)
    part = relations_read({one: nodes[one] for one in ("l1249_0", "e4999")}, nodes.__getitem__)
    assert time.process_time() - begun < SECONDS
    assert len(whole["l1249_0"]) == 4 and len(part["l1249_0"]) == 4 * 1249
    assert part["e4999"] == ("l0_0",)
