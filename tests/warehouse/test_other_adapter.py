"""Another adapter than PostgreSQL's: dbt-duckdb, in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.launcher.environments import DUCKDB
from tests.harness import environments

SECONDS = 300


@pytest.mark.timeout(SECONDS + 180)
def test_main_job_failure_rerun_full_refresh_and_cancel_on_duckdb(tmp_path: Path) -> None:
    environments.run_tests(DUCKDB, ["tests/warehouse/on_duckdb.py"], tmp_path / "duckdb", SECONDS)
