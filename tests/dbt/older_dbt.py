"""The differential test once more, with an older dbt in an environment of its own; not part of CI.

./scripts/test tests/dbt/older_dbt.py
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mage_dbt.settings import CHECKOUT
from mage_dbt.workspace.environments import OLDER
from tests.harness import environments

SECONDS = 5400
"""The usual behaviours take ten minutes, all of them an hour where much else is done."""


@pytest.fixture(scope="module")
def older_python() -> Path:
    return environments.python(OLDER)


@pytest.mark.timeout(SECONDS + 300)
def test_they_agree_on_an_older_dbt_too(
    older_python: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    words = ["-P", "-m", "pytest", "tests/dbt/test_differential.py", "-p", "no:cacheprovider"]
    words += ["--basetemp", str(tmp_path / "older"), "-k", "agree"]
    if request.config.getoption("--thorough"):
        words += ["--thorough"]
    done = subprocess.run(
        [str(older_python), *words],
        cwd=CHECKOUT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
