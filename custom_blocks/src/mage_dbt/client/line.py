"""A line that people read, as the tool prints it and Mage logs it."""

from __future__ import annotations

from logging import INFO
from typing import NamedTuple

INDENT = "    "


class Line(NamedTuple):
    """A text, which may hold line breaks, and its level in a log."""

    text: str
    level: int = INFO
