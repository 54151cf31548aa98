"""What `scripts/check` asks for, and what must never get on dbt's import path."""

from __future__ import annotations

import subprocess

import pytest

from mage_dbt.settings import CHECKOUT
from mage_dbt.workspace import check


@pytest.mark.parametrize("command", check.commands(), ids=["format", "lint", "types"])
def test_the_code_is_clean(command: list[str]) -> None:
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
