"""Texts of other people in a page: none of them turns the letters around it.

Names, reasons, commits and messages may hold characters that set the direction of what follows them
(Unicode, annex 9). With them `kim` could be shown as another name, or a commit as another commit.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, pass_context
from markupsafe import Markup

ISOLATE, END = "\u2068", "\u2069"
"""Around a text whose own direction holds inside it alone."""

MARKS: Mapping[int, str] = dict.fromkeys((0x061C, 0x200E, 0x200F), "")
"""They are not seen and are left out."""

SHOWN = "\N{REPLACEMENT CHARACTER}"
"""In the place of a character that turns others, so that a reader sees there was one."""

TURNING: Mapping[int, str] = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), SHOWN)

FOREIGN = {**MARKS, **TURNING}

OF_A_SENTENCE = {at: text for at, text in FOREIGN.items() if chr(at) not in (ISOLATE, END)}
"""What may not stand in HTML that is made already: there `isolated` has put its two."""

RIGHT_TO_LEFT = ("R", "AL", "AN")


def settled(value: Any) -> Any:
    """What a template prints, without characters that turn others; a Markup stays one."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.translate(OF_A_SENTENCE if isinstance(value, Markup) else FOREIGN)


def isolated(value: Any) -> Any:
    """The same for a value inside a sentence, closed in when letters of it run from the right."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isascii():
        return settled(value)
    text = value.translate(FOREIGN)
    if any(unicodedata.bidirectional(letter) in RIGHT_TO_LEFT for letter in text):
        return f"{ISOLATE}{text}{END}"
    return text


def isolate_values(environment: Environment) -> None:
    """Has each translated sentence of the templates isolate the values that it is filled with."""
    for name in ("gettext", "ngettext"):
        environment.globals[name] = _isolating(environment.globals[name])


def _isolating(translate: Any) -> Callable[..., Any]:
    @pass_context
    def translated(context: Any, /, *texts: Any, **values: Any) -> Any:
        safe = {name: isolated(value) for name, value in values.items()}
        return translate(context, *texts, **safe)

    return translated
