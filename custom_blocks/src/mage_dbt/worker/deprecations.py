"""What dbt calls deprecated, counted for a run as one command of dbt's counts it.

dbt counts in its process, for the summary at the end of a command. A run's process, or the one it
is forked from, has had other commands before: `deps`, which judges by other rules, `parse`, and one
that went as far as a run's selection. So what each command finds as it begins stood there several
times.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dbt.cli.requires
import dbt.deprecations


@contextmanager
def counted_by_parsing() -> Iterator[None]:
    """Afterwards that is counted which dbt finds in this block, but for what it finds until it has
    read how the project is declared: it does so again in each command."""
    counted = _counted()
    counted.clear()
    begun: dict[str, int] = {}
    original = dbt.cli.requires.load_project

    def load_project(*arguments: Any, **named: Any) -> Any:
        project = original(*arguments, **named)
        begun.update(counted)
        return project

    dbt.cli.requires.load_project = load_project
    try:
        yield
    finally:
        dbt.cli.requires.load_project = original
        # The names stay: only what has none yet is said where it is met.
        for name, count in begun.items():
            counted[name] -= count


@contextmanager
def not_counted() -> Iterator[None]:
    """Afterwards nothing of this block is counted."""
    counted = _counted()
    before = dict(counted)
    try:
        yield
    finally:
        counted.clear()
        counted.update(before)


def _counted() -> dict[str, int]:
    """dbt's own, by name; before version 1.10 it counted nothing."""
    counted = dbt.deprecations.active_deprecations
    return counted if isinstance(counted, dict) else {}
