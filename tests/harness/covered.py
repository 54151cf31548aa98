"""Which share of the package the tests' own processes ran, by folder; told after `--cov`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from mage_dbt.settings import CHECKOUT

PACKAGE = CHECKOUT / "custom_blocks" / "src" / "mage_dbt"


class Covered:
    """Prints the table that pytest-cov's data come to."""

    @pytest.hookimpl
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if not config.getoption("cov_source", default=None):
            return
        # Here, because some environments that tests run in lack it.
        from coverage import Coverage

        counted = Coverage(config_file=str(CHECKOUT / "pyproject.toml"))
        counted.load()
        lines: dict[str, int] = defaultdict(int)
        ran: dict[str, int] = defaultdict(int)
        for file in counted.get_data().measured_files():
            _, statements, _, missing, _ = counted.analysis2(file)
            folder = folder_of(Path(file))
            lines[folder] += len(statements)
            ran[folder] += len(statements) - len(missing)
        terminalreporter.section("run by the tests' own processes")
        for folder in sorted(lines):
            terminalreporter.line(share(folder, ran[folder], lines[folder]))
        terminalreporter.line(share("all", sum(ran.values()), sum(lines.values())))


def folder_of(file: Path) -> str:
    """The package's folder that holds the file, one below the top."""
    inside = file.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else "(top)"


def share(name: str, ran: int, lines: int) -> str:
    """A line of the table. A folder without code is covered."""
    return f"{100 * ran // lines if lines else 100:4d} % of {lines:5d} lines  {name}"
