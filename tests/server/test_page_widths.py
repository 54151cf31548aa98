"""A card of a cause and the table of commits, with the longest that people have, fit a phone and
keep words whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.model.explanation import (
    Cause,
    ChangedFile,
    FailedNode,
    FailingRow,
    FailingRows,
    FileRole,
    Passed,
    RowsOnDay,
    Stale,
)
from mage_dbt.model.failure import FailureClass
from mage_dbt.model.published import Published, PublishedCommit, PublishedState
from mage_dbt.server.pages import assets, languages, rendering
from mage_dbt.server.pages.formats import Formats

if TYPE_CHECKING:
    from playwright.sync_api import Page

NOW = datetime(2026, 11, 30, 3, tzinfo=UTC)
EARLIER = datetime(2026, 11, 26, 23, 4, tzinfo=UTC)
LONG = "the_name_of_a_model_that_nobody_could_make_any_shorter_than_this_one"
NODE = f"model.shop.{LONG}"
COLUMNS = tuple(f"a_long_name_of_column_{number}" for number in range(8))

CAUSE = Cause(
    failure_class=FailureClass.DATA,
    sqlstate="",
    title=f"Got 3 results, configured to fail if != 0 in {LONG}",
    signature="x",
    nodes=(
        FailedNode(
            NODE, LONG, "test", f"models/{LONG}.sql", "a message", 2, (f"select {LONG * 3}",), 2
        ),
    ),
    passed=Passed("20261126-080000-4f2a9c", "3f2c1ab", EARLIER),
    changes=(
        ChangedFile(
            f"models/{LONG}.sql", FileRole.MODEL, "3f2c1ab", "Kim", EARLIER, LONG, f"+{LONG * 3}"
        ),
    ),
    failing_rows=FailingRows(
        "test.x", COLUMNS, ("password",), (FailingRow(COLUMNS, new=True),), total=1
    ),
    stale=tuple(
        Stale(f"{NODE}{number}", name, EARLIER, ("Board dashboard of the whole company " * 3,))
        for number, name in enumerate((LONG, "orders"))
    ),
)
UNCHANGED = replace(
    CAUSE,
    changes=(),
    changes_note="same commit",
    history=tuple(RowsOnDay("2026-11-26", f"{NODE}{n}", f"{LONG}_{n}", 5) for n in range(6)),
)


def formats_of(language: str) -> Formats:
    return Formats(language, ZoneInfo("Asia/Seoul"), NOW, languages.translations(language))


def page_of(language: str, body: str) -> str:
    """A page with the page's own styles."""
    styles = (assets.FOLDER / "page.css").read_text()
    return (
        f'<!doctype html><html lang="{language}">'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{styles}</style><body><main>{body}</main></body></html>"
    )


def html(language: str) -> str:
    """Two cards as the page of a run has them."""
    formats = formats_of(language)
    cards = rendering.environment(language).from_string(
        '{% from "cause_card.html" import cause_card with context %}'
        "{% for cause in causes %}{{ cause_card(cause, 'x', loop.index) }}{% endfor %}"
    )
    body = cards.render(
        causes=(CAUSE, UNCHANGED), formats=formats, url=lambda path, **_: path, language=language
    )
    above = "<div class='row'><button>x</button></div><section class='card live'>y</section>"
    return page_of(language, above + body)


@pytest.mark.parametrize("language", languages.LANGUAGES)
@pytest.mark.parametrize("width", [360, 800, 1300])
def test_a_card_with_long_names_fits_the_window(page: Page, language: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.set_content(html(language))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # No word of `as of …` is broken: its cell is as wide as the widest of them at least.
    heights = page.evaluate(
        "[...document.querySelectorAll('table.stale td:last-child')].map((cell) => {"
        " const range = document.createRange(); range.selectNodeContents(cell);"
        " return range.getBoundingClientRect().height })"
    )
    assert len(heights) == 4 and max(heights) < 70, heights
    # Nothing of a diff or of an excerpt is cut off at the right.
    cut = page.evaluate(
        "[...document.querySelectorAll('pre')].filter((one) => one.checkVisibility()"
        " && one.scrollWidth > one.clientWidth).map((one) => one.className)"
    )
    assert cut == []
    gap = page.evaluate(
        "document.querySelector('.live').getBoundingClientRect().top"
        " - document.querySelector('.row').getBoundingClientRect().bottom"
    )
    assert gap >= 10


COMMITS = tuple(
    PublishedCommit("3f2c1ab" * 5, subject, author, EARLIER, 4, state, None, "")
    for subject, author, state in (
        (
            "Compute the discounts of orders by their day, not by that of their shipment " * 2,
            "Kim Seoyeon",
            PublishedState.SKIPPED,
        ),
        (LONG, "Maximilian Featherstonehaugh", PublishedState.LIVE),
        (
            "Fix",
            "someone.with.a.long.address@a-company-with-a-long-name.example.com",
            PublishedState.BROKEN,
        ),
    )
)

BROKEN_WORDS = """() => [...document.querySelectorAll("td:not(:first-child)")]
    .flatMap((cell) => {
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), found = [];
        while (texts.nextNode()) {
            for (const word of texts.currentNode.data.matchAll(/\\S+/g)) {
                const range = document.createRange();
                range.setStart(texts.currentNode, word.index);
                range.setEnd(texts.currentNode, word.index + word[0].length);
                if (range.getClientRects().length > 1) found.push(word[0]);
            }
        }
        return found;
    })"""
"""Those that stand on more than one line."""


@pytest.mark.parametrize("language", languages.LANGUAGES)
@pytest.mark.parametrize("width", [360, 800, 1300])
def test_what_became_of_a_commit_and_whose_it_is_stand_in_whole_words(
    page: Page, language: str, width: int
) -> None:
    published = Published("main", None, None, None, None, COMMITS)
    body = rendering.render(
        language,
        "commits_live.html",
        {
            "published": published,
            "broken_since": None,
            "formats": formats_of(language),
            "now": NOW,
            "url": lambda path, **_: path,
        },
    )
    page.set_viewport_size({"width": width, "height": 800})
    page.set_content(page_of(language, body))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert set(page.evaluate(BROKEN_WORDS)) <= {COMMITS[-1].author}
    # Beside a long address there is room for what the commit says.
    subject = page.locator("td:first-child").first.bounding_box()
    assert subject is not None and subject["width"] >= min(width, 700) * 0.3


def test_the_lines_of_an_excerpt_have_the_numbers_of_their_file(page: Page) -> None:
    page.set_content(html("en"))
    shown = page.evaluate(
        "[...document.querySelectorAll('.numbered span')]"
        ".map((line) => getComputedStyle(line, '::before').content)"
    )
    assert shown == ['"2"', '"2"']
    assert page.locator(".numbered mark").count() == 2
