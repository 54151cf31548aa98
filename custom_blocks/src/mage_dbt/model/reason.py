"""The reason of a failure, reordered: the database's own words first, then where it happened.

dbt puts a heading first (`Database Error in model x (models/x.sql)`), indents the database's words,
and ends with the compiled file and the macros that led there. A reader who sees only the beginning
would miss the words.
"""

from __future__ import annotations

import re

HEADING = re.compile(r"[A-Z][\w ]{2,38} Error(?: in \S.*)?")
"""dbt's heading, from `DbtRuntimeError.__str__`."""

HOOK = re.compile(r"(\S+ failed), error:")
"""dbt's heading for a hook, from `RunTask.safe_run_hooks`."""

HEADINGS = re.compile(rf"{HEADING.pattern}|\S+ failed")
"""Either, as `words_first` leaves it."""

PLACE = re.compile(r"compiled code at \S.*|> (?:in|called by) \S.*")
"""dbt's lines after the words."""

HINT = re.compile(r"^HINT:  (.+)", re.MULTILINE)
"""The server's hint, by libpq's word, which is English in the driver that dbt brings."""

HOOK_OF = "The statement is a hook of "
"""How our own words begin on an error that a hook met, not the node's own SQL."""

BY_REFRESH = "a full refresh repairs this."
"""The end of our own words on an error about the columns of the table that a node fills."""

INDENT = "  "


def words_first(message: str) -> str:
    """dbt's message with the heading moved behind the words that it quotes; nothing is left out.

    A message without dbt's heading stays as it is.
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
    """The first line of the reordered reason that is not blank; empty without one."""
    words = words_first(reason)
    return next((line.strip() for line in words.splitlines() if line.strip()), "")


def hint_of(reason: str) -> str:
    """What the reason says may repair it: the workspace's own last words, or the server's hint."""
    text = words_first(reason)
    paragraphs = text.split("\n\n")
    where = [at for at, part in enumerate(paragraphs) if HEADINGS.fullmatch(part.split("\n")[0])]
    if where and (ours := "\n\n".join(paragraphs[where[-1] + 1 :]).strip()):
        return ours
    found = HINT.search(text)
    return found[1].strip() if found else ""
