"""A list of names as text: inside a sentence, and in one field of a form or an address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

QUOTED = re.compile(r'[,"]|^\s|\s$|^$')
"""What a name has that stands in quotes between commas."""

PART = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*(?=,|$)|([^,]*))(?:,|$)')
"""A name between commas, in quotes or without."""

MOST_NAMED = 5
"""Names in one sentence."""


def short_list(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """`a, b, c and 45 more`."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown


def listed(names: Iterable[str]) -> str:
    """Names with commas between them, as CSV has them (RFC 4180): one that holds a comma stands in
    quotes."""
    return ",".join(
        '"{}"'.format(name.replace('"', '""')) if QUOTED.search(name) else name for name in names
    )


def names_of(text: str) -> list[str]:
    """The names of such a list, each once; white space around them is none of theirs."""
    found = []
    for part in PART.finditer(text):
        quoted, plain = part.groups()
        found.append(plain.strip() if quoted is None else quoted.replace('""', '"'))
    return list(dict.fromkeys(filter(None, found)))
