"""A refresh that fills the disk: the table stays, and nothing is left aside."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from mage_dbt.model.run import RunState
from tests.harness import runner as runners
from tests.harness.runner import Runner

ROWS = 2_000
TOO_MANY = 900_000

FILE_BYTES = 24 << 20
"""No file may grow beyond this, as on a disk that is full. A write-ahead log has 16 MB."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A runner whose PostgreSQL inherits the limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, before[1]))
    try:
        with runners.on_project(tmp_path_factory.mktemp("limited"), None, "refresh") as runner:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            yield runner
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_table_and_nothing_aside(limited: Runner) -> None:
    limited.execute("create schema raw")
    limited.execute(f"create table raw.size as select {ROWS} as rows, 1 as version")
    assert limited.run().state is RunState.SUCCESS
    limited.execute(f"update raw.size set rows = {TOO_MANY}, version = 2")
    run = limited.run(operation="full_refresh", models="facts")
    assert run.state is RunState.ERROR
    reasons = [node.message for node in run.nodes]
    assert any("could not" in reason and "File too large" in reason for reason in reasons), reasons
    counted = limited.query("select version, count(*) from analytics.facts group by version")
    assert counted == [(1, ROWS)]
    assert not limited.query("select from pg_namespace where nspname like 'mage\\_dbt\\_new%'")
    limited.execute(f"update raw.size set rows = {ROWS}, version = 3")
    again = limited.run(operation="full_refresh", models="facts")
    assert again.state is RunState.SUCCESS, again.detail
