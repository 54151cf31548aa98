"""Whatever kind of node fails in PostgreSQL, and however many at once, its SQLSTATE is its own."""

from __future__ import annotations

import pytest

from mage_dbt.model.run import Run, RunState
from tests.harness.runner import Runner

PROJECT = "failing_resources"

FOUR_DAYS = "--event-time-start 2024-01-01 --event-time-end 2024-01-05"

EXPECTED = {
    "typed": "22P02",
    "kept": "42P01",
    "batches": "22012",
    "hooked": "P0004",
    "caught": "",
    "typed_wrongly": "22P02",
    "of_a_column": "42703",
    "accepted_values_numbers_id__one": "22P02",
    "failing_resources-on-run-end-1": "42P01",
}


@pytest.fixture(scope="module")
def failed(runner: Runner) -> Run:
    run = runner.run(operation="command", command=f"build {FOUR_DAYS}")
    assert run.state is RunState.ERROR
    return run


def test_each_kind_of_node_has_the_sqlstate_that_it_failed_with(failed: Run) -> None:
    found = {node.name: node.sqlstate for node in failed.nodes if node.failed}
    messages = {node.name: node.message for node in failed.nodes}
    assert found == EXPECTED, messages
    assert not any(node.sqlstate for node in failed.nodes if not node.failed)
