"""Every text of the page can be translated, and every language has all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir

from mage_dbt.model import plain_words
from mage_dbt.server.pages import languages, sentences, site

PACKAGE = Path(site.__file__).parent

METHODS = [("**/templates/**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
OPTIONS = {
    "**/templates/**.html": {"extensions": "jinja2.ext.do", "trimmed": "true", "silent": "false"}
}

JINJA = re.compile(r"\{#.*?#\}|\{%-?\s*trans\b.*?endtrans\s*-?%\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
LETTERS = re.compile(r"[^\W\d_]{2,}")

READ_ALOUD = ("title", "alt", "placeholder", "aria-label", "data-copied")
"""Attributes that people read or hear."""

NAMES = {
    "dbt-metric",
    "Mage",
    "dbt",
    "SQL",
    "NULL",
    "JSON",
    "YAML",
    "utf-8",
    "fct_orders",
    "a34fcf3",
}
"""Names are the same in every language."""


def texts() -> Catalog:
    found = Catalog()
    for file, line, text, *_ in extract_from_dir(
        PACKAGE, METHODS, OPTIONS, keywords={"_": None, "gettext": None, "ngettext": (1, 2)}
    ):
        found.add(text, locations=[(file, line)])
    for text in plain_words.texts():
        found.add(text, locations=[("model/plain_words.py", 0)])
    return found


def msgid(message: object) -> str:
    text = getattr(message, "id", "")
    return text if isinstance(text, str) else str(text[0])


def strings(translated: object) -> list[str]:
    """The translation, in each of its plural forms."""
    return [translated] if isinstance(translated, str) else list(translated or ())  # type: ignore[call-overload]


@pytest.mark.parametrize("language", [code for code in languages.LANGUAGES if code != "en"])
def test_every_text_of_the_page_is_translated(language: str) -> None:
    there = {
        msgid(message): message
        for catalogue in languages.catalogues(language)
        for message in catalogue
        if message.id
    }
    finished = languages.entries(language, sentences.CATALOGUE)
    used = {msgid(message): message for message in texts() if message.id}
    missing = sorted(
        f"{text!r} ({message.locations[0]})" for text, message in used.items() if text not in there
    )
    assert not missing, "add to locales/" + language + ":\n" + "\n".join(missing)
    empty = [
        text for text, message in there.items() if message.fuzzy or not all(strings(message.string))
    ]
    assert not empty, f"without a translation: {empty}"
    assert not sorted(there.keys() - used.keys() - finished.keys()), "no longer used"


@pytest.mark.parametrize("language", [code for code in languages.LANGUAGES if code != "en"])
def test_a_translation_has_the_places_of_its_text(language: str) -> None:
    place = re.compile(r"%\(\w+\)s")
    for catalogue in languages.catalogues(language):
        for message in catalogue:
            if not message.id:
                continue
            wanted = set(place.findall(str(message.id)))
            for string in strings(message.string):
                assert set(place.findall(string)) == wanted, message.id


def test_a_text_has_one_translation() -> None:
    for language in languages.LANGUAGES:
        seen: dict[str, list[str]] = {}
        for catalogue in languages.catalogues(language):
            for message in catalogue:
                if message.id:
                    found = strings(message.string)
                    assert seen.setdefault(msgid(message), found) == found, message.id


def test_no_text_is_a_piece_of_a_sentence() -> None:
    """What stands before, behind or between values is one text with places: languages differ in
    their order."""
    joins = re.compile(r"^[,;:.)]|[,;:(–]$")
    words = ("at", "by", "for", "from", "in", "of", "on", "since", "to", "until", "with")
    found = {msgid(message) for message in texts()}
    assert not sorted(text for text in found if joins.search(text) or text in words)


def test_who_may_do_something_has_one_wording() -> None:
    speaks = re.compile(r"\b(analyst|operator|owner|viewer)s?\b.*\b(may|can|here)\b", re.IGNORECASE)
    found = sorted(text for message in texts() if speaks.search(text := msgid(message)))
    assert found == [
        "Analysts, operators and owners may do this; your role here is %(role)s.",
        "Operators and owners may do this; your role here is %(role)s.",
    ]


class Readable(HTMLParser):
    """Collects what people read in HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")
        self.found += [value or "" for name, value in attrs if name in READ_ALOUD]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(data)


def hard_coded(template: str) -> Iterator[str]:
    reader = Readable()
    reader.feed(JINJA.sub(" ", template))
    for text in reader.found:
        yield from LETTERS.findall(
            re.sub("|".join(map(re.escape, sorted(NAMES, key=len, reverse=True))), " ", text)
        )


@pytest.mark.parametrize(
    "template", sorted((PACKAGE / "templates").glob("*.html")), ids=lambda path: path.name
)
def test_no_template_has_a_text_that_cannot_be_translated(template: Path) -> None:
    assert not list(hard_coded(template.read_text()))


@pytest.mark.parametrize(
    "template", sorted((PACKAGE / "templates").glob("*.html")), ids=lambda path: path.name
)
def test_no_template_has_what_the_policy_forbids(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", text)
    assert not re.search(r"\|\s*safe\b", text)
    for script in re.findall(r"<script[^>]*>", text):
        assert 'nonce="{{ nonce }}"' in script, script


def test_no_sentence_says_at_before_a_time_that_may_name_its_day() -> None:
    for file in sorted(PACKAGE.glob("templates/**/*.html")):
        for sentence, values in re.findall(r'_\("([^"]*)"([^{}]*)', file.read_text()):
            for name in re.findall(r"\bat %\((\w+)\)s", sentence):
                dated = re.search(rf"\b{name}=[^,]*\| *(clock|when)\b", values)
                assert not dated, f"{file.name}: {sentence}: at tomorrow"
