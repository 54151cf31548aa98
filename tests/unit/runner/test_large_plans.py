"""What is worked out of a plan takes time that grows with its edges, not with their square."""

from __future__ import annotations

import time

from mage_dbt.dbt.plan.reasons import why_in
from mage_dbt.model.estimate import total_seconds
from mage_dbt.model.plan import PlannedNode

MODELS = 5000
"""In a chain, each with three tests."""

SECONDS = 30.0
"""Of CPU: far more than it takes, and less than what grows with the square of the nodes."""


def test_why_each_node_of_a_long_chain_is_in_the_plan() -> None:
    edges = {f"model.s.m{n}": [f"model.s.m{n - 1}"] if n else [] for n in range(MODELS)}
    for n in range(MODELS):
        edges |= {f"test.s.t{n}_{test}.0": [f"model.s.m{n}"] for test in range(3)}
    begun = time.process_time()
    down = why_in(edges, {"model.s.m0"}, {})
    up = why_in(edges, {f"model.s.m{MODELS - 1}"}, {})
    assert time.process_time() - begun < SECONDS
    assert down[f"model.s.m{MODELS - 1}"] == "downstream of m0"
    assert up["model.s.m0"] == f"upstream of m{MODELS - 1}"


def test_how_long_a_long_chain_takes() -> None:
    nodes = []
    for n in range(MODELS):
        reads = (f"model.s.m{n - 1}",) if n else ()
        model = f"model.s.m{n}"
        nodes.append(PlannedNode(model, "m", "model", depends_on=reads, estimated_seconds=1))
        nodes += [
            PlannedNode(f"test.{n}.{one}", "t", "test", depends_on=(model,), estimated_seconds=0.5)
            for one in range(3)
        ]
    begun = time.process_time()
    # With four threads the three tests of a model run side by side, before the next model.
    assert total_seconds(nodes, 4) == 1.5 * MODELS
    assert time.process_time() - begun < SECONDS
