"""What the verbs print: lines for a person, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from mage_dbt.base.text import printable


def print_lines(lines: Iterable[str]) -> None:
    """Prints one line after the other, each as soon as it is there.

    What dbt, git and people wrote is in them, so nothing in them reaches the terminal itself.
    """
    for line in lines:
        print(printable(line))


def print_json(data: Any) -> int:
    """Prints plain data as JSON; returns the exit status 0."""
    print(json.dumps(data, indent=2, default=str))
    return 0
