"""What people write may run from the right, and turns nothing around it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markupsafe import Markup

from mage_dbt.server.pages import rendering
from mage_dbt.server.pages.directions import END, ISOLATE, isolated, settled

TEMPLATES = Path(rendering.__file__).parent / "templates"

OVERRIDE = "\N{RIGHT-TO-LEFT OVERRIDE}"
TURNING = [chr(at) for at in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]
MARKS = ["\N{LEFT-TO-RIGHT MARK}", "\N{RIGHT-TO-LEFT MARK}", "\N{ARABIC LETTER MARK}"]
HEBREW = "\N{HEBREW LETTER SHIN}\N{HEBREW LETTER LAMED}"


def render(template: str, **values: object) -> str:
    """A template with that text, in the page's own environment."""
    return rendering.environment("ko").from_string(template).render(values)


@pytest.mark.parametrize(
    "template",
    [
        "{{ who }}",
        '<a title="{{ who }}">x</a>',
        "{{ _('Asked by %(who)s, %(time)s', who=who, time='08:00') }}",
        "{{ _('Asked by %(who)s, %(time)s: “%(why)s”', who='ana', time='08:00', why=who) }}",
        "{% trans sha = 'a', subject = who %}{{ sha }} “{{ subject }}” is being made ready"
        "{% endtrans %}",
        "{{ ngettext('%(branch)s is %(num)s commit ahead',"
        " '%(branch)s is %(num)s commits ahead', 2, branch=who) }}",
        "{{ [who, 'b'] | join(', ') }}",
        "{% macro of(name) %}{{ name }}{% endmacro %}{{ of(who) }}",
    ],
)
@pytest.mark.parametrize("letter", TURNING, ids=lambda letter: f"{ord(letter):x}")
def test_no_text_of_a_person_turns_others(template: str, letter: str) -> None:
    html = render(template, who=f"mik{letter}x")
    assert letter not in html
    assert "mik\N{REPLACEMENT CHARACTER}x" in html


@pytest.mark.parametrize("mark", MARKS)
def test_marks_of_direction_are_left_out(mark: str) -> None:
    assert settled(f"a{mark}b") == "ab"


def test_a_text_that_runs_from_the_right_keeps_its_letters_and_to_itself() -> None:
    html = render("{{ _('Asked by %(who)s, %(time)s', who=who, time='08:00') }}", who=HEBREW)
    assert f"{ISOLATE}{HEBREW}{END}" in html
    assert render("{{ who }}", who=HEBREW) == HEBREW


def test_other_texts_stay_as_they_are() -> None:
    for text in ("kim", "김철수", "Zoë – “x” …", "", "👩‍💻"):
        assert isolated(text) == settled(text) == text
    assert settled(7) == isolated(7) == 7
    assert settled(Markup("<b>ü</b>")) == Markup("<b>ü</b>")
    assert isinstance(settled(Markup("<b>ü</b>")), Markup)


def test_a_person_cannot_write_an_element_that_way() -> None:
    html = render(
        "{{ _('Asked by %(who)s, %(time)s', who=who, time='08:00') }}", who=f"<b>{HEBREW}{OVERRIDE}"
    )
    assert "<b>" not in html and "&lt;b&gt;" in html


FOREIGN = re.compile(
    r"\{\{ \w+(?:\.\w+)*\.(?:caller|why|commit_subject|subject|author) \}\}", re.ASCII
)
"""Somebody's own words, printed as they are."""


def beside_others(template: str) -> Iterator[str]:
    """Somebody's words that stand in a text and not in an element of their own."""
    for found in FOREIGN.finditer(template):
        before, after = template[: found.start()], template[found.end() :]
        attribute = re.search(r'="[^"<>]*$', before)
        alone = re.search(r'<(bdi|[a-z]+ [^<>]*dir="auto"|td)>(<b>)?$', before)
        if not attribute and not (alone and after.startswith("</")):
            yield found[0]


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_peoples_words_stand_in_elements_of_their_own(template: Path) -> None:
    assert list(beside_others(template.read_text())) == []
