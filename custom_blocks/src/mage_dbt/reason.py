"""A reason as people read it: the database's own words first, whole, and then where it happened.

dbt puts a line of its own before them (`Database Error in model x (models/x.sql)`), moves them in,
and ends with the file of the compiled code and the macros that led there. A reader who sees only
the beginning would see none of them.
"""

from __future__ import annotations

import re

HEADING = re.compile(r"[A-Z][\w ]{2,38} Error(?: in \S.*)?")
"""dbt's line before the words: `DbtRuntimeError.__str__`."""

HOOK = re.compile(r"(\S+ failed), error:")
"""The same of a hook: `RunTask.safe_run_hooks`."""

PLACE = re.compile(r"compiled code at \S.*|> (?:in|called by) \S.*")
"""dbt's lines after the words."""

INDENT = "  "


def words_first(message: str) -> str:
    """dbt's message with its own lines moved behind the words that it quotes; nothing is left out.

    What is not in dbt's form stays as it is, and so does what is in this order already.
    """
    heading, *rest = message.split("\n")
    hook = HOOK.fullmatch(heading)
    if hook:
        heading, words = hook[1], [rest[0].removeprefix(" "), *rest[1:]] if rest else []
    elif HEADING.fullmatch(heading):
        words = [line.removeprefix(INDENT) for line in rest]
    else:
        return message
    places: list[str] = []
    while words and (PLACE.fullmatch(words[-1]) or not words[-1].strip()):
        places.insert(0, words.pop())
    if not words:
        return message
    where = [heading, *(line for line in places if line.strip())]
    return "\n".join([*words, "", *where])


def first_line(reason: str) -> str:
    """The first line of a reason that says something; empty when none does."""
    words = words_first(reason)
    return next((line.strip() for line in words.splitlines() if line.strip()), "")
