"""Another adapter than PostgreSQL's: dbt-duckdb, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mage_dbt.settings import CHECKOUT
from mage_dbt.workspace.environments import DUCKDB
from tests.harness import environments

SECONDS = 300


@pytest.mark.timeout(SECONDS + 180)
def test_main_job_failure_rerun_full_refresh_and_cancel_on_duckdb(tmp_path: Path) -> None:
    python = environments.python(DUCKDB)
    words = ["-P", "-m", "pytest", "tests/dbt/on_duckdb.py", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [str(python), *words, "--basetemp", str(tmp_path / "duckdb")],
        cwd=CHECKOUT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
