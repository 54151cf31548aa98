"""What `scripts/check` asks for, and what must never get on dbt's import path."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml

from mage_dbt.launcher import check
from mage_dbt.settings import CHECKOUT


@pytest.mark.parametrize("command", check.commands(), ids=["format", "lint", "types", "rooms"])
def test_the_code_is_clean(command: list[str]) -> None:
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hook_before_a_commit_runs_that_very_command() -> None:
    written = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())
    (hook,) = [hook for repository in written["repos"] for hook in repository["hooks"]]
    assert hook["entry"] == "./scripts/check" and os.access(CHECKOUT / hook["entry"], os.X_OK)
    # Of all files, always: the command knows which are its own.
    assert hook["language"] == "script" and hook["always_run"] and not hook["pass_filenames"]
