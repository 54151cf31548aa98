"""Failures as they happen: pytest reports them at the end alone, which a stopped run never sees."""

from __future__ import annotations

import pytest

from tests.harness.scheduling import is_whole

LONGEST = 300
"""Characters of an error. All of it is in the report at the end."""


class PrintedAtOnce:
    """Prints the name and the error of each test that fails, when all are run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)  # after the letter of pytest's own line
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.failed or not is_whole(self._config):
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        error = crash.message if crash else report.longreprtext
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        terminal.write_line(f"\n{report.nodeid}, {report.when}: {error[:LONGEST]}")
