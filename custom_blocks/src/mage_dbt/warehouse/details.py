"""The values that PostgreSQL quotes with an error of a constraint, without those that are hidden.

It quotes them in the error's detail: `Key (a, b)=(1, x) already exists.`, and `Failing row contains
(1, x, …).`, which does not name the columns. Those words are in the server's language; the brackets
and what stands in them are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mage_dbt.base.redaction import STARS

QUOTING = ("23", "44")
"""Beginnings of SQLSTATEs whose details quote values: constraints, and check options of views."""

KEYS = ("23503", "23505", "23P01")
"""SQLSTATEs whose details name the columns of a key with its values; of others no value is shown.
"""

NAME = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')

PART = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|, |[()]""")
"""What ends a column in a list of columns, one of which may be an expression."""

COPIED = re.compile(r"^(COPY [^\n]*?: ).*", re.DOTALL | re.MULTILINE)

BETWEEN = re.compile(r"\s?=\s?\(")


def without_hidden(detail: str, sqlstate: str, hides: Callable[[str], bool]) -> str:
    """The detail of an error with stars in place of values; `hides` says which columns are hidden.

    Where it cannot be told which value is whose, all are hidden.
    """
    begin, end = detail.find("("), detail.rfind(")")
    if not sqlstate.startswith(QUOTING) or begin < 0:
        return detail
    if sqlstate not in KEYS:
        return f"{detail[: begin + 1]}{STARS}{detail[end:] if end > begin else ''}"
    columns, after = _columns(detail, begin)
    found = BETWEEN.match(detail, after)
    if found is None or end < found.end():
        return f"{detail[: begin + 1]}{STARS}"
    hidden = [any(map(hides, _names(column))) for column in columns]
    if not any(hidden):
        return detail
    values = detail[found.end() : end].split(", ")
    if len(values) != len(columns):
        values = [STARS]
    else:
        pairs = zip(values, hidden, strict=True)
        values = [STARS if is_hidden else value for value, is_hidden in pairs]
    return detail[: found.end()] + ", ".join(values) + detail[end:]


def without_copied_line(context: str, sqlstate: str) -> str:
    """An error's context without the line of a file that COPY could not take."""
    if not sqlstate.startswith(QUOTING):
        return context
    return COPIED.sub(rf"\1{STARS}", context)


def _columns(detail: str, begin: int) -> tuple[list[str], int]:
    """The columns in the brackets that open at `begin`, and where the text goes on after them."""
    columns: list[str] = []
    depth, start = 0, begin + 1
    for part in PART.finditer(detail, begin):
        if part[0] == "(":
            depth += 1
        elif part[0] == ")":
            depth -= 1
            if depth == 0:
                return [*columns, detail[start : part.start()]], part.end()
        elif part[0] == ", " and depth == 1:
            columns.append(detail[start : part.start()])
            start = part.end()
    return columns, len(detail)


def _names(column: str) -> Iterator[str]:
    """The names in a column's name or expression."""
    for quoted, plain in NAME.findall(column):
        yield quoted.replace('""', '"') or plain
