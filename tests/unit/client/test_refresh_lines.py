"""What people read of a refresh: before it, while it goes on, and afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from logging import ERROR, INFO, WARNING

from mage_dbt.client import refresh_lines
from mage_dbt.client.report import Progress
from mage_dbt.model.refresh import (
    Check,
    CheckName,
    ColumnChange,
    ColumnComparison,
    Comparison,
    Dependent,
    Kept,
    Preview,
    RefreshStep,
    Refusal,
    Step,
)
from mage_dbt.model.run import Event, EventKind

NOW = datetime(2026, 11, 23, 8, 4, tzinfo=UTC)

RUN = "20261123-080000-4f2a9c"

KEPT = Kept(
    run=RUN,
    node="model.shop.fct_orders",
    relation="analytics.fct_orders",
    schema="mage_dbt_old_20261123_080000_4f2a9c",
    kind="table",
    at=NOW,
    until=datetime(2026, 11, 30, 8, 4, tzinfo=UTC),
    bytes=1_200_000_000,
)


def preview(**more: object) -> str:
    made = Preview("model.shop.fct_orders", "fct_orders", "analytics.fct_orders", **more)  # type: ignore[arg-type]
    return "\n".join(refresh_lines.preview_lines([made]))


def test_a_preview_says_what_changes_who_reads_it_and_how_large_it_is() -> None:
    text = preview(
        columns=(ColumnChange("discount", after="numeric"), ColumnChange("note", "text")),
        rows=1_000_000,
        bytes=120_000_000,
        index_bytes=30_500_000,
        free_bytes=3_000_000_000,
        dependents=(
            Dependent("view", "bi.top", "ana", ("id", "amount")),
            Dependent("view", "bi.all", direct=False),
        ),
        carried=("select for reader",),
    )
    assert "fct_orders (analytics.fct_orders): built aside and swapped in" in text
    assert "+ discount numeric, - note text" in text
    assert "about 1,000,000 rows, 120 MB, indexes 30 MB, 3.0 GB free on the server" in text
    assert "view bi.top (id, amount)" in text and "view bi.all (through others)" in text
    assert "select for reader" in text


def test_a_preview_that_is_refused_begins_with_why() -> None:
    refused = Refusal("The trigger audit is on it.", "Drop it for the refresh.")
    lines = preview(refusals=(refused,)).splitlines()
    assert "refused, and nothing is touched" in lines[0]
    assert " ".join(lines[1].split()) == f"REFUSED {refused}"


def test_the_preview_of_an_undo_says_what_comes_back_and_what_is_lost() -> None:
    text = preview(kept=KEPT, loses_rows=1)
    assert "the former one is swapped in again" in text
    assert f"what run {RUN} replaced, 1.2 GB" in text
    assert "1 row whose key is only in the present table" in text


def test_rows_with_other_values_are_not_called_lost_by_an_undo() -> None:
    by_key = Comparison("node", "name", key=("id",), only_before=0, only_after=0, changed=7371)
    whole_rows = Comparison("node", "name", only_before=7371, only_after=7371)
    for found in (by_key, whole_rows):
        made = Preview("node", "name", "s.name", kept=KEPT).losing(found)
        facts = {label: " ".join(text.split()) for label, text in refresh_lines.preview_facts(made)}
        if found.key:
            assert facts["loses"] == "no row: the former one has all of them"
            assert facts["changes"] == "7,371 rows back to former values"
        else:
            assert "loses" not in facts
            assert facts["differs"].startswith("7,371 rows are not in the former one as they are")
    equal = Preview("node", "name", "s.name").losing(replace(whole_rows, only_before=0))
    assert (equal.loses_rows, equal.differing_rows) == (0, 0)
    sampled = replace(by_key, sampled="1 in 16 keys, by a hash of the key")
    assert Preview("node", "name", "s.name").losing(sampled).loses_rows is None


def lines_of(step: RefreshStep) -> list[tuple[str, int]]:
    event = Event(1, NOW, EventKind.REFRESH, step.of_event())
    return [(line.text, line.level) for line in Progress(RUN).lines(event)]


def test_a_check_is_told_with_its_outcome() -> None:
    for passed, overridden, word, level in (
        (False, False, "FAILED", ERROR),
        (False, True, "overridden", WARNING),
    ):
        check = Check(CheckName.ROWS, passed, "700 instead of 1,000.", overridden=overridden)
        (line,) = lines_of(RefreshStep(Step.CHECKED, check.text, check=check))
        assert line == (f"Check rows {word}: 700 instead of 1,000.", level)


def test_a_check_that_had_nothing_to_check_is_not_told_as_passed() -> None:
    check = Check(CheckName.TESTS, True, "It has no dbt tests.", applies=False)
    (line,) = lines_of(RefreshStep(Step.CHECKED, check.text, check=check))
    assert line == ("Check tests has nothing to check: It has no dbt tests.", INFO)


def test_a_refresh_that_holds_says_how_to_decide() -> None:
    lines = [text for text, _ in lines_of(RefreshStep(Step.HOLDS, "fct_orders: ready to swap."))]
    assert lines[0] == "fct_orders: ready to swap."
    assert f"swap {RUN}" in lines[1] and f"cancel {RUN}" in lines[2]
    assert "wait for the decision" in lines[3]


COMPARISON = Comparison(
    "model.shop.fct_orders",
    "fct_orders",
    key=("id",),
    sampled="1 in 16 keys, by a hash of the key",
    rows_before=1000,
    rows_after=1001,
    only_before=0,
    only_after=1,
    changed=2,
    only_after_rows=({"id": "1001", "note": None},),
    columns=(
        ColumnComparison("amount", "integer", "numeric", 2, examples=(("7", "1", "1.5"),)),
        ColumnComparison("discount", "", "numeric", nulls_after=3),
    ),
    equal_columns=4,
)


def test_a_comparison_says_what_differs_and_shows_examples() -> None:
    text = "\n".join(refresh_lines.comparison_lines(COMPARISON))
    assert "fct_orders: 1,000 rows now, 1,001 new; 0 only now, 1 only in the new, 2 changed" in text
    assert "(1 in 16 keys, by a hash of the key)" in text
    assert "amount: integer -> numeric; changed in 2 rows" in text and "7: 1 -> 1.5" in text
    assert "discount: new, numeric; nulls 3" in text
    assert "only in the new: id=1001, note=null" in text
    assert "4 other columns are equal in every compared row" in text


def test_a_run_that_is_over_says_until_when_and_how_it_is_undone() -> None:
    steps = [
        RefreshStep(Step.ASIDE, "Built aside."),
        RefreshStep(Step.COMPARED, "Compared.", comparison=COMPARISON),
        RefreshStep(Step.SWAPPED, "Swapped: fct_orders.", kept=(KEPT,)),
    ]
    lines = list(refresh_lines.over_lines(steps, RUN))
    assert "Built aside." not in lines and "Swapped: fct_orders." in lines
    assert "Until 2026-11-30 08:04 UTC it can be undone" in lines[-1]
    assert lines[-1].endswith("run undo_refresh fct_orders")
    rows = refresh_lines.result_rows(steps, RUN)
    texts = [row["why"] for row in rows]
    assert texts[0] == "Swapped: fct_orders." and "can be undone" in texts[1]
    assert sorted(texts) == sorted(lines) and {row["node"] for row in rows} == {"REFRESH"}


def test_a_view_that_is_back_is_said_once() -> None:
    text = "The view bi.orders was dropped along and is back, with its grants."
    assert not lines_of(RefreshStep(Step.RESTORED, text))
    log = Event(1, NOW, EventKind.LOG, {"level": "info", "text": text})
    assert [line.text for line in Progress(RUN).lines(log)] == [f"dbt: {text}"]
