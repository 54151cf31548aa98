"""Why a node is in a plan, from what was asked for and what dbt says reads what."""

from __future__ import annotations

import pytest

from mage_dbt.dbt.plan.reasons import has_operator, why_in, without_operators

EDGES = {
    "model.s.raw": [],
    "model.s.stg": ["model.s.raw"],
    "model.s.fct": ["model.s.stg"],
    "model.s.report": ["model.s.fct"],
    "test.s.unique_fct.8d1f": ["model.s.fct"],
    "test.s.fresh.77aa": ["source.s.raw.orders"],
}


@pytest.mark.parametrize(
    ("criterion", "plain"),
    [
        ("fct", "fct"),
        ("+fct+", "fct"),
        ("2+fct+1", "fct"),
        ("@fct", "fct"),
        ("tag:daily+,+path:models/marts", "tag:daily,path:models/marts"),
        ("fqn:shop.marts.fct_2+", "fqn:shop.marts.fct_2"),
    ],
)
def test_graph_operators_are_taken_off_and_nothing_else(criterion: str, plain: str) -> None:
    assert without_operators(criterion) == plain
    assert has_operator(criterion) == (criterion != plain)


def test_each_node_names_the_nearest_that_was_asked_for() -> None:
    assert why_in(EDGES, {"model.s.fct"}, {}) == {
        "model.s.raw": "upstream of fct",
        "model.s.stg": "upstream of fct",
        "model.s.fct": "asked for",
        "model.s.report": "downstream of fct",
        "test.s.unique_fct.8d1f": "test of fct",
        "test.s.fresh.77aa": "test of raw.orders",
    }


def test_a_reason_that_is_known_stays() -> None:
    known = {"model.s.fct": "failed at 08:04"}
    found = why_in(EDGES, known.keys(), known)
    assert found["model.s.fct"] == "failed at 08:04"
    assert found["model.s.report"] == "downstream of fct"
