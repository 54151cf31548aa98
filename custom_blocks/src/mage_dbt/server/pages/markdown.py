"""A very small part of Markdown: paragraphs, lists, **bold** and `code`. All else stays text.

What people wrote in a YAML file may be anything, so everything is escaped before it is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

CODE = re.compile(r"`([^`\n]+)`")
BOLD = re.compile(r"\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*")
ITEM = re.compile(r"\s*[-*] +")

LONGEST = 20_000
"""Characters; a description that is longer is cut."""


def first_line(text: str, most: int) -> str:
    """The first line of a description, in plain letters, cut to `most` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = BOLD.sub(r"\1", CODE.sub(r"\1", line.lstrip("# ")))
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def markdown(text: str) -> Markup:
    """The text as HTML that holds no other elements than p, ul, li, strong and code."""
    return Markup("").join(_blocks(text[:LONGEST]))


def _blocks(text: str) -> Iterator[Markup]:
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        items: list[str] = []
        words: list[str] = []
        for line in lines:
            if ITEM.match(line):
                items.append(ITEM.sub("", line, count=1))
            elif items:
                items[-1] += f" {line.strip()}"
            else:
                words.append(line.strip())
        if words:
            yield Markup("<p>{}</p>").format(_inline(" ".join(words).lstrip("# ")))
        if items:
            inner = Markup("").join(Markup("<li>{}</li>").format(_inline(item)) for item in items)
            yield Markup("<ul>{}</ul>").format(inner)


def _inline(text: str) -> Markup:
    """Bold and code; nothing inside code is looked at."""
    found = Markup("")
    for place, part in enumerate(CODE.split(text)):
        escaped = str(escape(part))
        if place % 2:
            found += Markup(f"<code>{escaped}</code>")
        else:
            found += Markup(BOLD.sub(r"<strong>\1</strong>", escaped))
    return found
