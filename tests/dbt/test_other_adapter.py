"""Another adapter than PostgreSQL's: dbt-duckdb, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT, Settings
from mage_dbt.workspace import environments
from mage_dbt.workspace.environments import DUCKDB
from mage_dbt.workspace.progress import Progress

SECONDS = 300


@pytest.mark.timeout(SECONDS + 180)
def test_main_job_failure_rerun_full_refresh_and_cancel_on_duckdb(tmp_path: Path) -> None:
    home = Home(Settings.load().workspace_home)
    environments.ensure(home, [DUCKDB], Progress(0))
    python = environments.python_of(home, DUCKDB)
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
