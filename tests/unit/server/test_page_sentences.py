"""What the page says in finished English sentences is said in the reader's language."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from mage_dbt.model import problems
from mage_dbt.server.pages import languages, sentences
from mage_dbt.server.pages.sentences import PLACE, translated
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


def known(language: str, template: str) -> bool:
    """Whether the sentence is translated, with names in its places."""
    text = PLACE.sub("x1", template).replace("%%", "%")
    return 'lang="en"' not in translated(language, text)


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
    said = {
        word
        for file in code.PACKAGE.rglob("*.py")
        for _, text, _ in code.templates(file)
        for word in _words(text)
    }
    unused = {
        text: sorted(words)
        for text in languages.entries(language, sentences.CATALOGUE)
        if (words := _words(text) - said)
    }
    assert not unused, "the code has no text with these words any more"


def _words(text: str) -> set[str]:
    return set(re.findall("[a-z]{4,}", PLACE.sub(" ", text).lower()))


def test_a_text_is_translated_sentence_by_sentence_and_what_is_not_ours_stays() -> None:
    said = translated("ko", "Look at the run. relation <b> is not there")
    assert said == (
        '그 실행을 확인하세요. <span lang="en" dir="auto">relation &lt;b&gt; is not there</span>'
    )
    assert translated("ko", "division by zero").startswith('<span lang="en"')
    assert translated("en", "Look at the <run>.") == "Look at the &lt;run&gt;."


def test_what_stands_in_a_place_is_translated_when_it_is_a_sentence_too() -> None:
    text = (
        "waiting for facts, held by full refresh of a, b since 08:04 KST, started by kim <x>; "
        "that run waits for a decision to swap"
    )
    assert translated("ko", text) == (
        "facts 대기 중: 08:04 KST부터 a, b 전체 새로 고침이(가) 사용 중"
        "(시작한 사람: kim &lt;x&gt;). 그 실행은 교체 결정을 기다립니다"
    )


def test_a_message_of_the_database_may_be_longer_than_a_sentence() -> None:
    said = translated("ko", "The warehouse refused: no. No such thing. It never was.")
    assert said.startswith("웨어하우스가 거부했습니다: no.")
    assert "It never was." in said


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_template_is_known_by_more_than_its_places(language: str) -> None:
    """One of places and blanks alone would take every text for its own."""
    for text in languages.entries(language, sentences.CATALOGUE):
        assert len(re.findall("[A-Za-z]", PLACE.sub("", text))) >= 3, text
