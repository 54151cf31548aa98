"""The differential test once more, with an older dbt in an environment of its own; not part of CI.

./scripts/test tests/differential/older_dbt.py
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.launcher.environments import OLDER
from tests.harness import environments

SECONDS = 5400
"""The usual behaviours take ten minutes, all of them an hour where much else is done."""


@pytest.mark.timeout(SECONDS + 300)
def test_they_agree_on_an_older_dbt_too(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    words = ["tests/differential/test_differential.py", "-k", "agree"]
    if request.config.getoption("--thorough"):
        words += ["--thorough"]
    environments.run_tests(OLDER, words, tmp_path / "older", SECONDS)
