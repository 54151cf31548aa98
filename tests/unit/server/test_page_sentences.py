"""What the page says in finished English sentences is said in the reader's language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from mage_dbt.model import problems
from mage_dbt.server.pages import languages, sentences, site
from mage_dbt.server.pages.sentences import PLACE, Maker, Template, templates, translated
from tests.harness import sentences as code

LANGUAGES = [name for name in languages.LANGUAGES if name != "en"]

ROOMS = (
    *("commits", "dbt", "errors.py", "explain", "ledger", "model", "runner", "server"),
    *("warehouse", "workers"),
)
"""Whose sentences come to the page."""

FOR_PROGRAMS = (
    *("server/authentication", "server/relay", "server/strict_route", "server/middleware"),
    *("server/events", "server/__main__", "server/requests", "server/caller", "server/schemas"),
    *("server/openapi", "server/metrics", "server/runs", "server/timelines", "server/workspace"),
    *("server/schedule", "server/pages/assets", "server/pages/forms", "model/problems"),
    *("ledger/migrate", "commits/git_sync", "commits/profile"),
    *("dbt/docs", "dbt/patches", "dbt/profile_secrets", "dbt/connection", "workers/zygote"),
    *("runner/guides", "runner/reconcile", "model/plain_words"),
)
"""Files whose sentences are for programs, for who starts the workspace or for Mage's guides, or are
in a catalogue of their own."""

OTHERS = (
    'There is a column named "x" in table "t", but it cannot be referenced from this part of the '
    "query.",
    'Perhaps you meant to reference the column "orders.id".',
    'column "x" does not exist\nLINE 3:     x,\n            ^',
    'relation "prod.orders" does not exist',
    "value is too long.",
    "value too long for type character varying(3)",
    'duplicate key value violates unique constraint "orders_pkey"',
    "Key (id)=(1) already exists.",
    "No function matches the given name and argument types. You might need to add explicit type "
    "casts.",
    "canceling statement due to user request",
    "There is no unique constraint matching given keys.",
    "The view a uses b",
    "Name one: a.",
    "Did you mean orders?",
    '"orders" is a temporary table.',
    "cannot drop table orders because other objects depend on it",
    "Use DROP ... CASCADE to drop the dependent objects too.",
    'Compilation Error in model orders (models/orders.sql)\n  Model "orders" depends on a node '
    "named 'raw' which was not found",
    "Got 3 results, configured to fail if != 0",
    "Runtime Error\n  Could not find profile named 'x'",
    "1 row",
    "is broken",
    "waits",
    "build orders faster",
    "undo of the refresh of orders",
    "daily build",
    "Internal error",
    "Nothing has changed",
    "has not begun",
    "ask for it again",
    "asked for",
    "rerun of orders, 3 models",
)
"""Messages and hints of PostgreSQL, messages of dbt, subjects of commits."""


def known(language: str, template: str) -> bool:
    """Whether the sentence is translated, with names in its places."""
    text = PLACE.sub("x1", template).replace("%%", "%")
    return 'lang="en"' not in translated(language, text, Maker.WORKSPACE)


def of_the_code() -> Iterator[tuple[str, str]]:
    """The sentences that may come to the page, and where they stand."""
    for file in sorted(code.PACKAGE.rglob("*.py")):
        name = str(file.relative_to(code.PACKAGE))
        if name.startswith(ROOMS) and not name.startswith(FOR_PROGRAMS):
            for line, text, of_an_error in code.sentences(file):
                if (of_an_error and not text[0].isspace()) or code.is_sentence(text):
                    yield text, f"{name}:{line}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_that_comes_to_the_page_is_in_the_catalogue(language: str) -> None:
    missing = sorted(
        {f"{text!r} ({at})" for text, at in of_the_code() if not known(language, text)}
    )
    assert not missing, f"add to locales/{language}/{sentences.CATALOGUE}:\n" + "\n".join(missing)
    assert [title for title in problems.TITLES.values() if not known(language, title)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_entry_is_still_said_by_the_code(language: str) -> None:
    words_of_the_code = {
        word
        for file in code.PACKAGE.rglob("*.py")
        for _, text, _ in code.templates(file)
        for word in _words(text)
    }
    unused = {
        text: sorted(words)
        for text in languages.entries(language, sentences.CATALOGUE)
        if (words := _words(text) - words_of_the_code)
    }
    assert not unused, "the code has no text with these words any more"


def _words(text: str) -> set[str]:
    return set(re.findall("[a-z]{4,}", PLACE.sub(" ", text).lower()))


def test_a_text_is_translated_sentence_by_sentence_and_what_is_not_ours_stays() -> None:
    shown = translated("ko", "Look at the run. relation <b> is not there", Maker.WORKSPACE)
    assert shown == (
        '그 실행을 확인하세요. <span lang="en" dir="auto">relation &lt;b&gt; is not there</span>'
    )
    assert translated("ko", "division by zero").startswith('<span lang="en"')
    assert translated("en", "Look at the <run>.") == "Look at the &lt;run&gt;."
    assert translated("ko", "3 models, 1 seed", Maker.WORKSPACE) == "모델 3개, 시드 1개"


def test_what_stands_in_a_place_is_translated_when_it_is_a_sentence_too() -> None:
    text = (
        "waiting for facts, held by full refresh of a, b since 08:04 KST, started by kim <x>; "
        "that run waits for a decision to swap"
    )
    assert translated("ko", text) == (
        f"facts 대기 중: {english('08:04 KST')}부터 {english('a, b')} 전체 새로 고침이(가) 사용 중"
        f"(시작한 사람: {english('kim &lt;x&gt;')}). 그 실행은 교체 결정을 기다립니다"
    )


def english(text: str) -> str:
    return f'<span lang="en" dir="auto">{text}</span>'


def test_words_of_others_inside_a_sentence_are_marked_as_english() -> None:
    shown = translated("ko", 'The warehouse refused: relation "a" is not there.')
    assert shown == f"웨어하우스가 거부했습니다: {english('relation &#34;a&#34; is not there')}."
    assert translated("en", "The warehouse refused: it is <b>.") == (
        "The warehouse refused: it is &lt;b&gt;."
    )


def test_a_list_of_names_that_is_cut_short_says_so_in_the_readers_language() -> None:
    shown = translated("ko", "Run the seeds again. There are a, b and 3 more.", Maker.WORKSPACE)
    assert f"{english('a, b')} 외 3개" in shown


def test_a_sentence_beside_ours_is_ours_until_somebody_else_has_spoken() -> None:
    ours = translated("ko", 'No model "x" in dbt-metric at 3f2c1ab. There is facts.')
    assert 'lang="en"' not in ours
    theirs = translated("ko", "The warehouse refused: no. There is a column. Nothing has changed.")
    assert theirs == (
        f"웨어하우스가 거부했습니다: no. {english('There is a column.')} 바뀐 것은 없습니다."
    )


def test_a_reason_that_somebody_typed_is_not_looked_into() -> None:
    shown = translated("ko", "Cancelled by kim: nothing has changed.", Maker.WORKSPACE)
    assert english("nothing has changed") in shown
    assert "Nothing has changed" not in translated("ko", "Not reached: Nothing has changed")


@pytest.mark.parametrize("text", OTHERS)
def test_what_others_wrote_is_shown_as_they_wrote_it(text: str) -> None:
    shown = translated("ko", text)
    words = re.sub("<[^>]*>", "", shown)
    assert unescape(words) == text
    assert (
        re.sub(r"<span lang=\"en\" dir=\"auto\">.*?</span>", "", shown, flags=re.DOTALL).strip()
        == ""
    )


OF_OTHERS = re.compile(
    r"(?:node|past|data|group)\.message|cause\.title|\.detail\b(?<!sent\.detail)|first\.hint"
    r"|subject|\bdescri|(?:run|pause|request)\.why"
)
"""What a template shows that the database, dbt or a person may have written."""


@pytest.mark.parametrize(
    "file",
    sorted((Path(site.__file__).parent / "templates").glob("*.html")),
    ids=lambda file: file.name,
)
def test_no_template_takes_words_of_others_for_ours(file: Path) -> None:
    shown = re.findall(r"\{\{(.*?)\}\}", file.read_text())
    assert not [text for text in shown if re.search(r"\| ours\b", text) and OF_OTHERS.search(text)]


class Counted(str):
    """A text that counts how often it is looked through."""

    looks = 0

    def find(self, *arguments: object) -> int:
        self.looks += 1
        return super().find(*arguments)  # type: ignore[arg-type]


HOSTILE = (
    " have succeeded since, by x in run y (" * 100,
    "waiting for x, held by x since x, started by x; " * 100,
    "The x is not made again: it uses x, which " * 100,
    "the x; the x (x) " * 500,
    "a. " * 5_000,
    "The warehouse refused: " * 500 + ".",
    "3 models, 1 seed, " * 500,
    "%(name)s \u2028" * 500,
)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_a_hostile_text_is_looked_through_once_for_each_place(text: str) -> None:
    for known in templates("ko"):
        counted = Counted(text)
        known.values(counted)
        assert counted.looks <= len(known.places)
    for maker in Maker:
        assert translated("ko", text, maker)


def test_a_place_takes_the_shortest_text_and_the_last_the_rest() -> None:
    def values(known: Template, text: str) -> dict[str, str] | None:
        return found if (found := known.values(text)) is None else dict(found)

    known = sentences.template("%(a)s is %(b)s.", "")
    assert values(known, "x is y is z.") == {"a": "x", "b": "y is z"}
    assert values(known, "x is .") is None
    assert values(known, " is y.") is None
    assert values(sentences.template("%(num)s rows", ""), "1,200.5 rows") == {"num": "1,200.5"}
    assert values(sentences.template("%(num)s rows", ""), "no rows") is None
    assert values(sentences.template("%(a)s%(b)s.", ""), "xyz.") == {"a": "xyz", "b": ""}


PARTICLE = re.compile(
    r"%\(\w+\)s(?:이라|이며|으로|로|을|를|은|는|이|가|과|와)(?![가-힣(])|%\(\w+\)s(?:이라|이며|로부터)"
)
"""A form that fits only what ends in a consonant, or only what ends in a vowel."""

KNOWN_ENDS = ("%(build)s",)
"""Places of which all values stand in the catalogue: the daily build and its rerun."""


def strings(translation: object) -> list[str]:
    """The translation, in each of its plural forms."""
    if isinstance(translation, list | tuple):
        return [str(form) for form in translation]
    return [str(translation)]


def test_a_particle_behind_a_place_fits_every_value() -> None:
    found = [
        string
        for catalogue in languages.catalogues("ko")
        for message in catalogue
        for string in strings(message.string)
        if (place := PARTICLE.search(string)) and not place[0].startswith(KNOWN_ENDS)
    ]
    assert not found, "write both forms: 이(가), 을(를), 은(는), 과(와), (으)로, (이)며, (이)라"


def test_a_message_of_the_database_may_be_longer_than_a_sentence() -> None:
    shown = translated("ko", "The warehouse refused: no. No such thing. It never was.")
    assert shown.startswith("웨어하우스가 거부했습니다: no.")
    assert "It never was." in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_template_is_known_by_more_than_its_places(language: str) -> None:
    """One of places and blanks alone would take every text for its own."""
    for text in languages.entries(language, sentences.CATALOGUE):
        assert len(re.findall("[A-Za-z]", PLACE.sub("", text))) >= 3, text
