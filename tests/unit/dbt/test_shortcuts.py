"""What our shortcuts give dbt is what its own way would have given it."""

from __future__ import annotations

from dbt_common import behavior_flags

from mage_dbt.dbt.patches import nodes


def test_a_behavior_flag_is_told_to_be_of_the_module_that_dbt_names() -> None:
    asked = {}

    class Flag(behavior_flags.BehaviorFlagRendered):  # type: ignore[misc]
        def __init__(self) -> None:
            asked["dbt"] = behavior_flags.BehaviorFlagRendered._default_source()
            asked["ours"] = nodes._module_that_asks()

    Flag()
    assert asked["ours"] == asked["dbt"] == __name__
