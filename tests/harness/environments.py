"""The environments that tests need beside their own; each is installed by who first asks for it."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from mage_dbt.home import Home
from mage_dbt.launcher import environments
from mage_dbt.launcher.environments import DBT, MAGE, VALIDATORS, Recipe
from mage_dbt.settings import CHECKOUT, Settings
from tests.harness.waiting import progress


@cache
def python(recipe: Recipe) -> Path:
    """The environment's Python."""
    environments.ensure(installed(), [recipe], progress())
    return environments.python_of(installed(), recipe)


def installed() -> Home:
    """The home of the checkout under test, which has the environments."""
    return Home(Settings.load().workspace_home)


def validator(name: str) -> str:
    """The path of a validator's program."""
    return str(python(VALIDATORS).parent / name)


def run_tests(recipe: Recipe, arguments: list[str], folder: Path, seconds: float) -> None:
    """Runs tests in that environment, their files below `folder`. Fails with what they print."""
    words = [str(python(recipe)), "-P", "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*words, "--basetemp", str(folder), *arguments],
        cwd=CHECKOUT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]


def share(home: Home) -> None:
    """Lets `home` use what a start would otherwise install."""
    for recipe in (DBT, MAGE):
        python(recipe)
    home.root.mkdir(parents=True, exist_ok=True)
    home.environments.symlink_to(installed().environments.resolve())
