"""The tests themselves: what shares something runs in one process, and nothing is left out."""

from __future__ import annotations

import pytest


def test_a_test_bears_its_group_where_tests_run_side_by_side(
    request: pytest.FixtureRequest,
) -> None:
    """pytest-xdist reads the group from the test's name, and puts it there itself."""
    if hasattr(request.config, "workerinput"):
        assert request.node.nodeid.endswith("@tests/unit/harness/test_scheduling.py")
