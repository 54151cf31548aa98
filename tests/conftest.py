"""What every test may use, and the report of what was not run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from mage_dbt.workspace import browser
from tests.live import LiveWorkspace, share_environments


def pytest_addoption(parser: pytest.Parser) -> None:
    fuzz = parser.getgroup("fuzz", "the fuzz of the HTTP API")
    fuzz.addoption("--fuzz-examples", type=int, default=10, help="examples for each operation (10)")
    fuzz.addoption("--fuzz-seed", type=int, default=1, help="the same seed is the same fuzz (1)")
    parser.addoption("--campaign-size", type=int, help="requests, kills, acts or models")
    parser.addoption(
        "--write-attacks", action="store_true", help="write the attacks' table in docs/security.md"
    )
    parser.addoption("--campaign-seed", type=int, help="the seed of a campaign's random numbers")
    parser.addoption(
        "--engine", action="store_true", help="tests/engine too: Compose's stack in an engine"
    )
    parser.addoption("--git-sync", type=Path, help="the real git-sync, instead of our stand-in")
    parser.addoption(
        "--thorough",
        action="store_true",
        help="the differential test in full: every act cold too, every behaviour on the older dbt",
    )


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The system's Chromium; without one the test is not run, which in CI is a failure."""
    found = browser.find()
    if found is None:
        not_run("no Chromium here; install the system's package chromium")
    return found


def not_run(reason: str) -> NoReturn:
    """For what this machine lacks: reported by name at the end, and a failure in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"not run: {reason}")
    pytest.skip(f"not run: {reason}")


@pytest.fixture
def new_workspace(tmp_path: Path) -> Iterator[LiveWorkspace]:
    """A workspace that was never started, with the environments that are installed already."""
    live = LiveWorkspace(tmp_path / "home")
    share_environments(live.home)
    yield live
    if live.started:
        live.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("not run")
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            terminalreporter.line(f"{report.nodeid}: {reason}")
