"""What scrolls within a page can be scrolled without a mouse, whatever stands in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from mage_dbt.server.pages import site

PACKAGE = Path(site.__file__).parent

JINJA = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
SCROLLS = re.compile(r"([^{}]+)\{[^{}]*\boverflow(?:-[xy])?:\s*(?:auto|scroll)\b")

FROM_THE_FIELD_ABOVE = "dialog ul"
"""The list under the picker's field, where the arrow keys move."""


class Elements(HTMLParser):
    """The elements of a template that scroll, with their attributes."""

    def __init__(self, tags: set[str], classes: set[str]) -> None:
        super().__init__()
        self.tags, self.classes = tags, classes
        self.found: list[tuple[int, str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        names = set((values.get("class") or "").split())
        if names & self.classes or (tag in self.tags and "wrap" not in names):
            self.found.append((self.getpos()[0], tag, values))


def selectors() -> tuple[set[str], set[str]]:
    """Tags and classes that the style sheet lets scroll."""
    style = re.sub(r"/\*.*?\*/", "", (PACKAGE / "static" / "page.css").read_text(), flags=re.DOTALL)
    found = {name.strip() for match in SCROLLS.finditer(style) for name in match[1].split(",")}
    found.remove(FROM_THE_FIELD_ABOVE)
    odd = {name for name in found if not re.fullmatch(r"\.?[a-z-]+", name)}
    assert not odd, "a selector that this test does not read"
    classes = {name[1:] for name in found if name.startswith(".")}
    return {name for name in found if not name.startswith(".")}, classes


def test_what_scrolls_can_be_reached_by_the_keyboard_and_has_a_name() -> None:
    tags, classes = selectors()
    assert tags == {"pre"} and "scroll" in classes
    seen, wrong = 0, []
    for template in sorted((PACKAGE / "templates").glob("*.html")):
        elements = Elements(tags, classes)
        # A template's own quotes would end an attribute; its lines are kept for the message.
        elements.feed(
            JINJA.sub(lambda part: "x" + "\n" * part[0].count("\n"), template.read_text())
        )
        for line, tag, attributes in elements.found:
            seen += 1
            named = tag == "pre" or "aria-label" in attributes or "aria-labelledby" in attributes
            if attributes.get("tabindex") != "0" or not named:
                wrong.append(f"{template.name}:{line} <{tag}>")
    assert seen > 20 and wrong == []
