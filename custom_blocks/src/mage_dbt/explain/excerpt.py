"""The lines of the compiled SQL that a message of the database points to.

The database counts the lines of the statement, in which dbt has wrapped the compiled SQL. So the
line is found by its text, which the message quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mage_dbt.base.redaction import scrub

POINTER = re.compile(r"^[ \t]*\S{1,20} ?(\d+) ?: (.+)\n[ \t]*\^[ \t]*$", re.MULTILINE)
"""libpq's two lines, in any language: `LINE 67:     orders.discount_codes,` and a caret below."""

NEIGHBOURS = 2
"""Lines shown before and after."""

LONGEST_LINE = 300
LONGEST_SQL = 1_000_000
"""Characters of a line that are shown, and bytes of a file that are searched."""


@dataclass(frozen=True)
class Excerpt:
    """Some lines of a file; lines are counted from 1."""

    line: int
    """The line that the message points to."""
    first: int
    lines: tuple[str, ...]


def excerpt(sql: str, message: str) -> Excerpt | None:
    """The lines of `sql` around that to which the message points; None where it points to none."""
    pointer = POINTER.search(message)
    if pointer is None:
        return None
    number = int(pointer[1])
    # PostgreSQL cuts a long line at either end, and marks the cut so.
    quoted = pointer[2].strip().removeprefix("...").removesuffix("...").strip()
    lines = sql.splitlines()
    found = [at for at, line in enumerate(lines, 1) if quoted and quoted in line]
    if not found:
        return None
    # The wrapping comes first, so the line stands earlier in the compiled SQL.
    line = min(found, key=lambda at: (at > number, abs(number - at)))
    first = max(1, line - NEIGHBOURS)
    shown = lines[first - 1 : line + NEIGHBOURS]
    return Excerpt(line, first, tuple(text[:LONGEST_LINE] for text in shown))


def read_sql(folder: Path, compiled: str) -> str:
    """A node's compiled SQL without secrets; empty where the run's folder does not hold it."""
    file = (folder / compiled).resolve()
    if not compiled or not file.is_relative_to(folder.resolve()):
        return ""
    try:
        with file.open("rb") as opened:
            return scrub(opened.read(LONGEST_SQL).decode(errors="replace"))
    except OSError:
        return ""
