"""Sentences of the workspace's own that reach the page as finished English text.

The ledger, an error, a plan and the warehouse's checks hold them as they are shown everywhere else.
`locales/<language>/sentences.po` has their templates, with places. A text is cut into sentences;
each that fits a template is translated, and so is what stands in places that hold sentences of the
workspace's own. All else stays as it is: the words of the database, of dbt and of people
(docs/decisions/0033-sentences-by-template.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache

from markupsafe import Markup, escape

from mage_dbt.base.tool_command import tool_command
from mage_dbt.model.run import NOT_REACHED
from mage_dbt.server.pages import languages
from mage_dbt.server.pages.directions import isolated

CATALOGUE = "sentences.po"

ENDS = (".", "?", "…")

BETWEEN = re.compile(r"(?<=[.?…])(\s+)|(\n+)")
"""Where a sentence ends."""

PLACE = re.compile(r"%\((\w+)\)s")

NUMBER = "num"
"""The place that takes nothing but a number."""

NUMERALS = frozenset("0123456789.,")

OWN = frozenset(
    (
        *("after", "again", "became", "becomes", "before", "behind", "busy", "called"),
        *("cancelled", "cancelling", "changes", "code", "count", "decision", "does", "doing"),
        *("faults", "found", "how", "kinds", "last", "loader", "notes", "numbers"),
        *("older", "parts", "run", "seen", "sentence", "session", "stand", "state", "title"),
        *("unchanged", "undecided", "unknown", "uses", "was", "what", "where", "which", "why"),
    )
)
"""Places that hold words of the workspace's own. No other place is looked into."""

MIXED = frozenset(("detail", "it", "problem", "reason"))
"""Places that hold a sentence of the workspace's own, or a message of somebody else."""

THEIRS = frozenset(
    (
        *("error", "exception", "last_words", "message", "problem", "reason", "refused"),
        *("failed", "rstrip", "strip", "wrong"),
    )
)
"""Places of messages, which may be longer than a sentence: what follows may still be theirs."""

TYPED = ("why", "by")
"""A reason beside the name of who gave it is in a person's words."""

MORE = "%(shown)s and %(more)s more"
"""How a list of names is cut short, in any place."""

LISTED = ("; ", ", ")
"""Between parts of a list, each of which may be known."""

MOST_TOGETHER = 12
"""Sentences that one template may take: what the database says is longer than one."""

MOST_SENTENCES = 100
"""Sentences of a text that are looked at; what has more is a message."""

DEEPEST = 4
"""Sentences within places of sentences."""

LONGEST = 20_000
"""Characters of a text that is looked at; longer ones are messages."""

ENOUGH = 19
"""Letters outside of places by which a sentence is told from others' words wherever it stands."""


TELLING = frozenset(
    (
        *(NOT_REACHED, "Cancelled by ", "Cancelled: ", "cancelled by ", "Thrown away by "),
        *("the test found ", "dbt says ", "dbt left it out.", "dbt gave no reason."),
        *(
            "killed by signal ",
            "It was interrupted.",
            "The runner failed: ",
            "Nothing has changed.",
        ),
        *(" nodes did not pass.", " nodes did not pass: "),
    )
)
"""Letters that are fewer, and that nobody else has: how runs and their nodes end."""


class Maker(Enum):
    """Who made a text."""

    WORKSPACE = "the workspace"
    ANYBODY = "the workspace, the database, dbt or a person"


@dataclass(frozen=True)
class Template:
    """How a sentence is made."""

    begins: str
    """The letters before its first place."""
    places: tuple[tuple[str, str], ...]
    """Each place, and the letters behind it."""
    empty: tuple[str, ...]
    """Places right behind another one, which takes all that stands there."""
    has: str
    """The longest text between two places; a sentence that lacks it does not fit."""
    length: int
    """Characters outside of its places."""
    letters: int
    """The letters among these."""
    translation: str

    @property
    def whole(self) -> bool:
        """Whether it has no places."""
        return not self.places

    @property
    def names(self) -> frozenset[str]:
        """Those of its places."""
        return frozenset((*(name for name, _ in self.places), *self.empty))

    def values(self, text: str) -> Mapping[str, str] | None:
        """What stands in its places, each as short as can be; None where the text does not fit.

        The letters are looked for in order, and each once: a text takes no longer than its length.
        """
        if not text.startswith(self.begins):
            return None
        if not self.places:
            return {} if text == self.begins else None
        at, values = len(self.begins), dict.fromkeys(self.empty, "")
        *others, (last, ending) = self.places
        for name, literal in others:
            end = text.find(literal, at + 1)
            if end < 0:
                return None
            values[name] = text[at:end]
            at = end + len(literal)
        end = len(text) - len(ending)
        if end <= at or not text.endswith(ending):
            return None
        values[last] = text[at:end]
        # A longer value would be no number either.
        return values if NUMERALS.issuperset(values.get(NUMBER, "")) else None


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
    places: list[tuple[str, str]] = []
    empty: list[str] = []
    for name, literal in zip(parts[1::2], literals[1:], strict=True):
        if places and not places[-1][1]:
            places[-1] = (places[-1][0], literal)
            empty.append(name)
        else:
            places.append((name, literal))
    return Template(
        literals[0],
        tuple(places),
        tuple(empty),
        max(literals, key=len).rstrip("."),
        sum(map(len, literals)),
        sum(letter.isalpha() for literal in literals for letter in literal),
        translation,
    )


@cache
def templates(language: str) -> tuple[Template, ...]:
    """Those of a language, the most exact first."""
    found = [
        template(text, translation)
        for text, translation in languages.entries(language, CATALOGUE).items()
    ]
    return tuple(sorted(found, key=lambda known: -known.length))


def translated(language: str, text: str, maker: Maker = Maker.ANYBODY) -> Markup:
    """The text in the reader's language, as far as it is the workspace's own.

    Only in a text that the workspace made is a sentence known by few letters.
    """
    if not templates(language) or not text or len(text) > LONGEST:
        return _foreign(text, language)
    return _translated(language, text, maker, 0) or _foreign(text, language)


@lru_cache(5_000)
def _translated(language: str, text: str, maker: Maker, depth: int) -> Markup | None:
    """None where nothing of the text is known."""
    if " " not in text:
        return _word(language, text) if maker is Maker.WORKSPACE else None
    # Most texts are none of ours: a look at the letters tells, and spares the rest.
    likely = tuple(known for known in templates(language) if known.has in text)
    if not likely:
        return None
    cut = _cut(text)
    if len(cut) > MOST_SENTENCES:
        return None
    found: list[Markup] = []
    any_known = theirs = False
    at = 0
    while at < len(cut):
        upto, known, values, end = _sentence(language, likely, cut, at, maker)
        found.append(Markup(escape(cut[at][1])) if found else Markup())
        if known is None:
            found.append(_foreign(cut[at][0], language))
        else:
            any_known = True
            words = _filled(language, known, values, depth)
            found.append(words if words.endswith(end) else words + end)
            # What stands beside a sentence of ours is ours too, until somebody else has spoken.
            theirs = theirs or bool(known.names & THEIRS)
            maker = Maker.ANYBODY if theirs else Maker.WORKSPACE
        at = upto
    if any_known:
        return Markup("").join(found)
    return _list(language, text, depth) if maker is Maker.WORKSPACE else None


def _word(language: str, text: str) -> Markup | None:
    """A single word, which has no places; most are names."""
    return next(
        (Markup(escape(known.translation)) for known in _words(language) if known.begins == text),
        None,
    )


@cache
def _words(language: str) -> tuple[Template, ...]:
    return tuple(known for known in templates(language) if " " not in known.begins and known.whole)


def _list(language: str, text: str, depth: int) -> Markup | None:
    """A list of what is known: `3 models, 1 seed`."""
    for between in LISTED:
        parts = text.split(between)
        if 1 < len(parts) <= MOST_TOGETHER and depth < DEEPEST:
            words = [_translated(language, part, Maker.WORKSPACE, depth + 1) for part in parts]
            if all(word is not None for word in words):
                return Markup(escape(between)).join(word for word in words if word is not None)
    return None


def _sentence(
    language: str,
    likely: Sequence[Template],
    cut: list[tuple[str, str]],
    at: int,
    maker: Maker,
) -> tuple[int, Template | None, Mapping[str, str], str]:
    """The end of the shortest run of pieces from `at` on that is known, and what it fits; last the
    full stop that its template lacks."""
    text = ""
    for upto in range(at, min(len(cut), at + MOST_TOGETHER)):
        piece, before = cut[upto]
        text += (before if upto > at else "") + piece
        for end in ("", ".") if text.endswith(".") else ("",):
            for known, values in _fitting(likely, text.removesuffix(end)):
                if maker is Maker.WORKSPACE or _tells(language, known, values):
                    return upto + 1, known, values, end
    return at + 1, None, {}, ""


def _fitting(likely: Sequence[Template], text: str) -> Iterator[tuple[Template, Mapping[str, str]]]:
    for known in likely:
        if known.has in text and (values := known.values(text)) is not None:
            yield known, values


def _tells(language: str, known: Template, values: Mapping[str, str]) -> bool:
    """Whether nobody else's words are like the sentence: what stands in its places counts too."""
    if not TELLING.isdisjoint((known.begins, *(literal for _, literal in known.places))):
        return True
    letters = known.letters
    if letters < ENOUGH:
        letters += sum(_letters(language, values[name]) for name in known.names & OWN)
    return letters >= ENOUGH


@lru_cache(5_000)
def _letters(language: str, text: str) -> int:
    """The letters by which a text is known; 0 where it is not."""
    return next((known.letters for known, _ in _fitting(templates(language), text)), 0)


def _filled(language: str, known: Template, values: Mapping[str, str], depth: int) -> Markup:
    """The translation with its places filled."""
    typed = TYPED[0] if known.names.issuperset(TYPED) else ""
    places = {
        name: _place(language, "" if name == typed else name, value, depth)
        for name, value in values.items()
    }
    return Markup(escape(known.translation)) % places


def _place(language: str, name: str, value: str, depth: int) -> Markup:
    """What stands in a place: a name or a message, and in some a sentence of ours."""
    if depth < DEEPEST and (name in OWN or name in MIXED):
        maker = Maker.WORKSPACE if name in OWN else Maker.ANYBODY
        words = _translated(language, value, maker, depth + 1)
        if words is not None:
            return words
    return _shortened(language, value) or _quoted(value, language)


def _shortened(language: str, value: str) -> Markup | None:
    """`a, b and 3 more`; None where the value is no such list of names."""
    names, _, end = value.rpartition(" and ")
    more = end.removesuffix(" more")
    if more == end or not more.isdigit() or any(" " in name for name in names.split(", ")):
        return None
    return Markup(escape(_more(language))) % {"shown": _quoted(names, language), "more": more}


@cache
def _more(language: str) -> str:
    return languages.entries(language, CATALOGUE).get(MORE, MORE)


def _quoted(value: str, language: str) -> Markup:
    """What is nobody's to translate, inside a sentence: a name is none of any language."""
    return _foreign(value, language) if " " in value else Markup(escape(isolated(value)))


def _foreign(text: str, language: str) -> Markup:
    """What is nobody's to translate."""
    if language == "en":
        return Markup(escape(isolated(text)))
    return Markup('<span lang="en" dir="auto">{}</span>').format(isolated(text))
