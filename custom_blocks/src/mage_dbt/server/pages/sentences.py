"""Sentences of the workspace's own that reach the page as finished English text.

The ledger, an error, a plan and the warehouse's checks hold them as they are shown everywhere else.
`locales/<language>/sentences.po` has their templates, with places. A text is cut into sentences;
each that fits a template is translated, and so is what stands in its places. What fits none stays
as it is: the words of the database, of dbt and of people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from markupsafe import Markup, escape

from mage_dbt.base.tool_command import tool_command
from mage_dbt.server.pages import languages
from mage_dbt.server.pages.directions import isolated

CATALOGUE = "sentences.po"

ENDS = (".", "?", "…")

BETWEEN = re.compile(r"(?<=[.?…])(\s+)|(\n+)")
"""Where a sentence ends."""

PLACE = re.compile(r"%\((\w+)\)s")

NUMBER = "num"
"""The place that takes nothing but a number."""

LISTED = ("; ", ", ")
"""Between parts of a list, each of which may be known."""

MOST_TOGETHER = 12
"""Sentences that one template may take: what the database says is longer than one."""

DEEPEST = 4
"""Sentences within places of sentences."""

LONGEST = 20_000
"""Characters of a text that is looked at; longer ones are messages."""


@dataclass(frozen=True)
class Template:
    """How a sentence is made."""

    begins: str
    """The letters before its first place."""
    has: str
    """The most letters between two places: a text without them is none of it."""
    pattern: re.Pattern[str]
    letters: int
    """Those outside of its places."""
    whole: bool
    """Whether it has no places."""
    translation: str


def pieces(text: str) -> list[str]:
    """The text's sentences, without what is between them."""
    return [piece for piece, _ in _cut(text)]


def for_people(hint: str) -> str:
    """A hint without what is for programs, or for who has the workspace's own tool."""
    tool = tool_command("").strip()
    return " ".join(piece for piece in pieces(hint) if "`GET /" not in piece and tool not in piece)


def _cut(text: str) -> list[tuple[str, str]]:
    """Each sentence, and the white space before it."""
    found, before, at = [], "", 0
    for gap in BETWEEN.finditer(text):
        found.append((text[at : gap.start()], before))
        before, at = gap[0], gap.end()
    found.append((text[at:], before))
    return [(piece, space) for piece, space in found if piece]


def template(text: str, translation: str) -> Template:
    """The template that a catalogue's entry is."""
    parts = PLACE.split(text)
    literals = [part.replace("%%", "%") for part in parts[::2]]
    pattern = re.escape(literals[0])
    for name, literal in zip(parts[1::2], literals[1:], strict=True):
        what = r"[\d.,]+" if name == NUMBER else ".+?"
        pattern += f"(?P<{name}>{what}){re.escape(literal)}"
    whole = re.compile(pattern, re.DOTALL)
    longest = max(literals, key=len).rstrip(".")
    return Template(
        literals[0], longest, whole, sum(map(len, literals)), len(parts) == 1, translation
    )


@cache
def templates(language: str) -> tuple[Template, ...]:
    """Those of a language, the most exact first."""
    found = [
        template(text, translation)
        for text, translation in languages.entries(language, CATALOGUE).items()
    ]
    return tuple(sorted(found, key=lambda one: -one.letters))


def translated(language: str, text: str) -> Markup:
    """The text in the reader's language, as far as it is the workspace's own."""
    known = templates(language)
    if not known or not text or len(text) > LONGEST:
        return _foreign(text, language)
    return _translated(language, text, 0) or _foreign(text, language)


@lru_cache(5_000)
def _translated(language: str, text: str, depth: int) -> Markup | None:
    """None where nothing of the text is known."""
    if " " not in text:
        return _word(language, text)
    # Most texts are none of ours: one look at the letters tells, and spares the patterns.
    likely = tuple(one for one in templates(language) if one.has in text)
    if not likely:
        return None
    cut = _cut(text)
    found: list[Markup] = []
    known = False
    at = 0
    while at < len(cut):
        upto, words = _sentence(language, likely, cut, at, depth)
        found.append(Markup(escape(cut[at][1])) if found else Markup())
        found.append(_foreign(cut[at][0], language) if words is None else words)
        known = known or words is not None
        at = upto
    return Markup("").join(found) if known else _list(language, text, depth)


def _word(language: str, text: str) -> Markup | None:
    """A single word, which has no places; most are names."""
    return next(
        (Markup(escape(one.translation)) for one in _words(language) if one.begins == text), None
    )


@cache
def _words(language: str) -> tuple[Template, ...]:
    return tuple(one for one in templates(language) if " " not in one.begins and one.whole)


def _list(language: str, text: str, depth: int) -> Markup | None:
    """A list of what is known: `3 models, 1 seed`."""
    for between in LISTED:
        parts = text.split(between)
        if 1 < len(parts) <= MOST_TOGETHER and depth < DEEPEST:
            words = [_translated(language, part, depth + 1) for part in parts]
            if all(word is not None for word in words):
                return Markup(escape(between)).join(word for word in words if word is not None)
    return None


def _sentence(
    language: str, likely: Sequence[Template], cut: list[tuple[str, str]], at: int, depth: int
) -> tuple[int, Markup | None]:
    """The translation of the shortest run of pieces from `at` on that is known, and its end."""
    text = ""
    for upto in range(at, min(len(cut), at + MOST_TOGETHER)):
        piece, before = cut[upto]
        text += (before if upto > at else "") + piece
        for said, end in ((text, ""), (text.removesuffix("."), ".")):
            for one, values in _fitting(likely, said):
                places = {name: _place(language, value, depth) for name, value in values.items()}
                found = Markup(escape(one.translation)) % places
                return upto + 1, found if found.endswith(end) else found + end
    return at + 1, None


def _fitting(likely: Sequence[Template], text: str) -> Iterator[tuple[Template, Mapping[str, str]]]:
    for one in likely:
        if (
            text.startswith(one.begins)
            and one.has in text
            and (found := one.pattern.fullmatch(text))
        ):
            yield one, found.groupdict()


def _place(language: str, value: str, depth: int) -> Markup:
    """What stands in a place: a sentence of ours too, or a name."""
    words = _translated(language, value, depth + 1) if depth < DEEPEST else None
    return Markup(escape(isolated(value))) if words is None else words


def _foreign(text: str, language: str) -> Markup:
    """What is nobody's to translate."""
    if language == "en":
        return Markup(escape(isolated(text)))
    return Markup('<span lang="en" dir="auto">{}</span>').format(isolated(text))
