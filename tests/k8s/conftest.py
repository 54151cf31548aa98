"""The validators: each a program of an environment of its own, which `scripts/test` installs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT, Settings
from mage_dbt.workspace.environments import VALIDATORS, python_of


def validator(name: str) -> str:
    """The path of a validator's program."""
    return str(python_of(Home(Settings.load().workspace_home), VALIDATORS).parent / name)


def said_of(command: list[str], folder: Path = CHECKOUT, given: str = "") -> tuple[int, str]:
    """Exit status and everything a validator printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout
