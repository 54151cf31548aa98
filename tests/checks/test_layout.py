"""The layout keeps the promises that DESIGN and the traps of the tools ask of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dbt
from mage_dbt.launcher.environments import MAGE
from mage_dbt.settings import CHECKOUT
from tests.harness.environments import python

LONGEST_SHIM = 12


def test_the_folder_dbt_never_becomes_part_of_the_package_dbt() -> None:
    assert not (CHECKOUT / "dbt" / "__init__.py").exists()
    assert not [path for path in dbt.__path__ if path.startswith(str(CHECKOUT / "dbt"))]


def test_our_package_is_not_taken_for_a_plugin_of_dbt() -> None:
    source = CHECKOUT / "custom_blocks" / "src"
    assert [one.name for one in source.iterdir() if one.name.startswith("dbt_")] == []


@pytest.mark.parametrize(
    "shim", sorted((CHECKOUT / "mage_project").rglob("*.py")), ids=lambda path: path.stem
)
def test_a_block_in_mage_is_a_few_lines(shim: Path) -> None:
    assert len(shim.read_text().splitlines()) <= LONGEST_SHIM


def imported_by(python: str, module: str) -> set[str]:
    """The top-level packages that importing `module` brings along."""
    code = f"import sys, {module}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [python, "-P", "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    return set(done.stdout.split())


def test_what_runs_in_mage_imports_neither_dbt_nor_a_database_driver() -> None:
    mage = str(python(MAGE))
    forbidden = {"dbt", "psycopg", "psycopg2", "yoyo", "fastapi", "uvicorn"}
    assert not forbidden & imported_by(mage, "mage_dbt.mage.blocks")


def test_the_runner_does_not_import_dbt() -> None:
    assert "dbt" not in imported_by(sys.executable, "mage_dbt.runner.service")
