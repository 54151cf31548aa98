"""dbt's warnings while parsing: which are new, in which order they are shown, and how many."""

from __future__ import annotations

from mage_dbt.model.parse_warnings import MOST_KEPT, ParseWarning, ParseWarnings

SHA = "9a8b7c6" + "0" * 33

DROPPED = ParseWarning("Test 'a' depends on a node named 'misspelt' which was not found")
UNUSED = ParseWarning("Configuration paths exist which do not apply to any resources")
OLD_WAY = ParseWarning("ConfigDeprecation: `tests` is called `data_tests`", 12, deprecation=True)


def test_new_ones_come_first_and_deprecations_last() -> None:
    before = ParseWarnings.of([UNUSED])
    now = ParseWarnings.of([OLD_WAY, UNUSED, DROPPED]).after(before, SHA)
    assert now.headline() == "3 warnings while parsing, 2 new since 9a8b7c6"
    assert list(now.lines()) == [
        f"New: {DROPPED.text}",
        f"New: {OLD_WAY.text} (12 times)",
        UNUSED.text,
    ]
    assert now.sentences() == (now.headline(), *(f"dbt: {one}" for one in now.lines()))


def test_what_was_there_before_is_not_new_however_often_dbt_meets_it() -> None:
    before = ParseWarnings.of([ParseWarning(OLD_WAY.text, 3, deprecation=True)])
    now = ParseWarnings.of([OLD_WAY]).after(before, SHA)
    assert now.headline() == "1 warning while parsing, none new since 9a8b7c6"
    assert now.new == 0


def test_the_first_commit_has_none_to_compare_with() -> None:
    first = ParseWarnings.of([DROPPED])
    assert first.headline() == "1 warning while parsing"
    assert list(first.lines()) == [DROPPED.text]
    assert ParseWarnings().headline() == "" and ParseWarnings().sentences() == ()


def test_many_are_counted_and_some_are_shown() -> None:
    many = ParseWarnings.of([ParseWarning(f"warning {n}") for n in range(MOST_KEPT + 20)])
    assert many.total == MOST_KEPT + 20 and len(many.shown) == MOST_KEPT
    told = list(many.lines(2))
    assert told == ["warning 0", "warning 1", "and 518 more; with --json all are listed"]


def test_a_run_says_which_it_has_by_its_variables_alone() -> None:
    commit = ParseWarnings.of([UNUSED, OLD_WAY]).after(ParseWarnings.of([UNUSED]), SHA)
    run = ParseWarnings.of([UNUSED, OLD_WAY, DROPPED]).in_run_of(commit)
    assert run.headline() == (
        "3 warnings while parsing, 1 new since 9a8b7c6, 1 only with this run's variables"
    )
    assert list(run.lines()) == [
        f"With this run's variables: {DROPPED.text}",
        f"New: {OLD_WAY.text} (12 times)",
        UNUSED.text,
    ]
    assert ParseWarnings.of([UNUSED]).in_run_of(commit).headline() == (
        "1 warning while parsing, none new since 9a8b7c6"
    )


def test_another_environment_adds_what_it_brings() -> None:
    before = ParseWarnings.of([UNUSED]).after(ParseWarnings.of([UNUSED]), SHA)
    now = ParseWarnings.of([UNUSED, DROPPED]).instead_of(before)
    assert now.headline() == "2 warnings while parsing, 1 new since 9a8b7c6"


def test_they_are_read_back_as_they_were_written() -> None:
    told = ParseWarnings.of([OLD_WAY, DROPPED]).after(ParseWarnings(), SHA)
    assert ParseWarnings.from_json(told.to_json()) == told
