"""A plan's digest is the same for the same work."""

from __future__ import annotations

from dataclasses import replace

from mage_dbt.ledger.ledger import SeenPlan
from mage_dbt.model.plan import Plan, PlannedNode
from mage_dbt.model.refresh import ColumnChange, Dependent, Preview, Refusal
from mage_dbt.runner.preview import difference

NODE = PlannedNode("model.shop.orders", "orders", "model", "incremental")

PLAN = Plan("3f2c1ab", (NODE,), command="build", flags=("--full-refresh",), target="prod")

ORDERS = Preview("model.shop.orders", "orders", "analytics.orders", rows=10, bytes=8192)


def test_a_plan_without_a_refresh_keeps_the_digest_that_it_always_had() -> None:
    assert PLAN.digest == "5f7fa29bbfef6b0f39081f2a2194c36bfc3c79f4995950126ae611070c1f0e58"
    assert PLAN.to_json()["refresh"] == []


def test_a_plan_of_a_refresh_survives_its_own_json() -> None:
    refused = Refusal("orders has the trigger audit.", "Drop it.")
    plan = replace(PLAN, refresh=(replace(ORDERS, refusals=(refused,)),))
    assert Plan.from_json(plan.to_json()) == plan


def test_what_a_refresh_touches_is_part_of_the_digest_and_its_size_is_not() -> None:
    plan = replace(PLAN, refresh=(ORDERS,))
    assert plan.digest != PLAN.digest
    assert replace(PLAN, refresh=(replace(ORDERS, rows=11, bytes=9000),)).digest == plan.digest
    for other in (
        replace(ORDERS, columns=(ColumnChange("discount", after="numeric"),)),
        replace(ORDERS, dependents=(Dependent("view", "bi.orders"),)),
        replace(ORDERS, exists=False),
    ):
        changed = replace(PLAN, refresh=(other,))
        assert changed.digest != plan.digest
        seen = SeenPlan(plan.commit, plan.what(), {NODE.node: NODE.name})
        assert difference(seen, changed) == (
            "the tables to refresh, or what depends on them, have changed"
        )
