"""Which tests share a process, in which order they begin, and how many processes there are.

Tests that share something started (a workspace, a Mage) are one group; so is each file. A group
goes to one process of pytest-xdist, as a whole and in order. The longest groups begin first, by
`tests/seconds.json`, so that no long one is left for the end.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from mage_dbt.settings import CHECKOUT

SECONDS = CHECKOUT / "tests" / "seconds.json"
"""Seconds of each group, of a run with `--write-seconds`. Only the order depends on it."""

SHARED = ("workspace", "with_login", "doors_open", "mage")
"""Fixtures that are started once for several files: those who use one are a group."""

SAME = {"doors_open": "with_login"}
"""Groups that share files with others."""

APART = ("tests/e2e/test_page.py",)
"""Files whose tests use what is shared, and are so long that they are a group of their own: the
process that takes it may have to start another."""

WAITING = 2
"""Processes more than cores: a test waits for a part of its time. What it starts needs 1.2 cores
meanwhile; with six more, everything took ten times as long as alone, and no core was idle less."""


def processes(config: pytest.Config) -> int:
    """How many processes `-n auto` means; 0 is this one. A single file, or tests to be watched, are
    not sent elsewhere."""
    option = config.option
    if option.capture == "no" or option.random_size or option.collectonly:
        return 0
    chosen = [Path(one.partition("::")[0]).resolve() for one in config.args]
    if len(set(chosen)) == 1 and chosen[0].is_file():
        return 0
    cores = os.cpu_count() or 1
    return cores if chosen == [CHECKOUT / "tests" / "unit"] else cores + WAITING


def is_whole(config: pytest.Config) -> bool:
    """Whether this is the README's command: all tests, in several processes."""
    given = config.invocation_params.args  # that command gives none but those of the coverage
    beside = bool(config.getoption("numprocesses", default=None))
    return beside and all(argument.startswith("--cov") for argument in given)


def group_of(item: pytest.Item) -> str:
    """The group's name."""
    file = item.path.relative_to(CHECKOUT).as_posix()
    shared = [one for one in SHARED if _scope(item, one) == "session"]
    if shared and file not in APART:
        return SAME.get(shared[0], shared[0])
    if item.get_closest_marker("side_by_side") is None:
        return file
    parameters = getattr(item, "callspec", None)
    return f"{file} {parameters.id if parameters else item.name}"


def _scope(item: pytest.Item, fixture: str) -> str:
    """The scope of the fixture that the test gets under this name; empty when it asks for none.

    A file may have one of its own under a shared one's name.
    """
    found = item._fixtureinfo.name2fixturedefs.get(fixture, ())  # type: ignore[attr-defined]
    return str(found[-1].scope) if found else ""


def arrange(items: list[pytest.Item]) -> None:
    """Marks each test with its group and puts the longest groups first."""
    known: dict[str, float] = json.loads(SECONDS.read_text()) if SECONDS.exists() else {}
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        groups[group_of(item)].append(item)
    # What is not known yet may be long.
    order = sorted(groups, key=lambda name: (-known.get(name, 60.0), name))
    for name in order:
        for item in groups[name]:
            item.add_marker(pytest.mark.xdist_group(name))
    items[:] = [item for name in order for item in groups[name]]


class Stopwatch:
    """Adds up how long each group takes, with its fixtures, and writes it down when asked to."""

    def __init__(self, write: bool) -> None:
        self._write = write
        self._seconds: dict[str, float] = defaultdict(float)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = dict(report.user_properties).get("group")
        if isinstance(name, str):
            self._seconds[name] += report.duration

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        longest = sorted(self._seconds.items(), key=lambda one: -one[1])
        terminalreporter.section("the longest groups of tests")
        for name, seconds in longest[:10]:
            terminalreporter.line(f"{seconds:7.1f} s  {name}")
        if self._write:
            known = {name: round(seconds, 1) for name, seconds in longest}
            SECONDS.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
