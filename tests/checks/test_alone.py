"""What becomes of tests that fail beside others, by pytest itself on small files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mage_dbt.settings import CHECKOUT
from tests.harness.alone import MOST

INI = "[pytest]\ntestpaths = tests\naddopts = -p xdist -n 2 --dist=loadgroup\n"

CONFTEST = """
import pytest
from tests.harness.alone import PlayedAlone
def pytest_configure(config):
    config.pluginmanager.register(PlayedAlone())
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group("a group"))
        item.user_properties.append(("group", "a group"))
"""

BESIDE = """
import os
def test_passes_alone():
    assert "PYTEST_XDIST_WORKER" not in os.environ
"""
"""It passes where pytest-xdist does not run it."""

FAULT = "def test_fails():\n    assert False\n"

CHANCES = BESIDE + "".join(
    BESIDE.replace("passes_alone", f"passes_alone_{number}") for number in range(MOST)
)


def exit_code(folder: Path, file: str, *arguments: str) -> tuple[int, str]:
    """Of all tests in a folder with this file, in two processes, and what they said."""
    (folder / "pytest.ini").write_text(INI)
    (folder / "tests").mkdir()
    (folder / "tests" / "conftest.py").write_text(CONFTEST)
    (folder / "tests" / "test_file.py").write_text(file)
    command = [sys.executable, "-P", "-m", "pytest", *arguments]
    environment = {name: os.environ[name] for name in os.environ if "PYTEST" not in name}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # each costs a second
    environment["PYTHONPATH"] = os.pathsep.join(
        (str(CHECKOUT), str(CHECKOUT / "custom_blocks" / "src"))
    )
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_what_passes_alone_is_named_and_no_failure(tmp_path: Path) -> None:
    code, said = exit_code(tmp_path, BESIDE)
    assert code == 0
    assert "Passed alone, after failing beside other tests" in said
    assert said.rstrip().endswith("tests/test_file.py::test_passes_alone")


def test_what_fails_alone_too_is_a_failure(tmp_path: Path) -> None:
    code, said = exit_code(tmp_path, BESIDE + FAULT)
    assert code == 1 and "Played once more, alone" in said and "Passed alone" not in said


def test_many_failures_are_no_chance(tmp_path: Path) -> None:
    code, said = exit_code(tmp_path, CHANCES)
    assert code == 1 and "Played once more" not in said


def test_a_choice_of_tests_is_not_played_again(tmp_path: Path) -> None:
    code, said = exit_code(tmp_path, BESIDE, "tests/test_file.py")
    assert code == 1 and "Played once more" not in said


def test_an_error_in_a_file_is_a_failure(tmp_path: Path) -> None:
    code, said = exit_code(tmp_path, "import nothing_of_this_name\n")
    assert code != 0 and "Played once more" not in said
