"""Tests that failed beside all others are played once more, alone.

With twice as many processes as cores, some of thousands of tests meet a moment that nobody has
thought of, such as something the product does in the background. What fails alone too is a fault of
the product, and stays a failure. What passes alone is a fault of the test: it is named at the end,
and its first failure stays in the output for who mends it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator

import pytest

from tests.harness.scheduling import is_whole

MOST = 3
"""Failed tests that are played again. More are no chance."""


class PlayedAlone:
    """Of a run of all tests in several processes. A choice of tests is never played again, nor is
    what was asked for with other options."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(name_of(report))

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # when the summary is printed
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        yield
        config, failed = session.config, sorted(self._failed)
        if session.exitstatus != pytest.ExitCode.TESTS_FAILED or not is_whole(config):
            return
        if not 0 < len(failed) <= MOST:
            return
        print(f"\nPlayed once more, alone: {', '.join(failed)}", flush=True)
        command = [sys.executable, "-P", "-m", "pytest", "--numprocesses=0", *failed]
        done = subprocess.run(command, cwd=config.rootpath, check=False)
        if done.returncode == pytest.ExitCode.OK:
            print("Passed alone, after failing beside other tests. Mend these tests:")
            print("\n".join(f"  {name}" for name in failed), flush=True)
            session.exitstatus = pytest.ExitCode.OK


def name_of(report: pytest.TestReport) -> str:
    """The test's name for pytest, without the group that pytest-xdist appends."""
    group = dict(report.user_properties).get("group")
    return report.nodeid.removesuffix(f"@{group}")
