"""A refresh as text: what its preview shows, and what it has done, step by step.

The tool, Mage's log and Mage's tables print the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from logging import ERROR, INFO, WARNING
from typing import Any

from mage_dbt.base.clock import Clock
from mage_dbt.base.lists import short_list
from mage_dbt.base.tool_command import tool_command
from mage_dbt.client.line import INDENT, Line
from mage_dbt.model.refresh import (
    ColumnComparison,
    Comparison,
    Dependent,
    Preview,
    RefreshStep,
    Step,
)

IN_UTC = Clock(UTC)

MOST_LISTED = 10
"""Dependents, columns and rows that are listed; further ones are counted."""

SHOWN = frozenset(
    {Step.CHECKED, Step.COMPARED, Step.SWAPPED, Step.DISCARDED, Step.EXPIRED, Step.RESTORED}
)
"""The steps of a run that is over; the others matter only while it goes on."""

ENDINGS = frozenset({Step.SWAPPED, Step.DISCARDED, Step.RESUMABLE})


def size(count: int) -> str:
    """Bytes for people: `820 kB`, `1.2 GB`."""
    amount, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}" if unit != "bytes" and amount < 10 else f"{amount:.0f} {unit}"


# ------------------------------------------------------------------ a preview


def preview_lines(previews: Iterable[Preview]) -> Iterator[str]:
    """What would happen to each relation, the heading first, the rest indented."""
    for preview in previews:
        yield f"{preview.name} ({preview.relation}): {_will(preview)}"
        for label, text in preview_facts(preview):
            yield f"{INDENT}{label:<12}{text}"


def preview_facts(preview: Preview) -> Iterator[tuple[str, str]]:
    """The facts of one preview, each with a label. What stops it comes first."""
    yield from (("REFUSED", str(refusal)) for refusal in preview.refusals)
    if preview.kept:
        yield "comes back", f"what run {preview.kept.run} replaced, {size(preview.kept.bytes)}"
    if preview.loses_rows is not None:
        lost = f"{_rows(preview.loses_rows)} whose key is only in the present table"
        yield "loses", lost if preview.loses_rows else "no row: the former one has all of them"
    if preview.changes_rows:
        yield "changes", f"{_rows(preview.changes_rows)} back to former values"
    if preview.differing_rows:
        many = preview.differing_rows > 1
        yield (
            "differs",
            f"{_rows(preview.differing_rows)} {'are' if many else 'is'} not in the former one as "
            f"{'they are' if many else 'it is'}: new since, or with other values (without a "
            "unique_key nobody can tell)",
        )
    if preview.columns:
        yield "columns", _listed([str(change) for change in preview.columns])
    elif preview.columns_unknown:
        yield "columns", f"not known before it is built: {preview.columns_unknown}"
    if preview.exists:
        yield "now", _now(preview)
    for dependent in preview.dependents[:MOST_LISTED]:
        yield "read by", _dependent(dependent)
    if len(preview.dependents) > MOST_LISTED:
        yield "read by", f"{len(preview.dependents) - MOST_LISTED} more"
    if preview.carried:
        yield "keeps", _listed(preview.carried)
    yield from (("note", text) for text in preview.notes)


def _will(preview: Preview) -> str:
    if preview.refusals:
        return "refused, and nothing is touched"
    if preview.kept:
        return "the former one is swapped in again"
    return (
        "built aside and swapped in" if preview.exists else "built aside and put there: it is new"
    )


def _now(preview: Preview) -> str:
    known = []
    if preview.rows is not None:
        known.append(f"about {_rows(preview.rows)}")
    if preview.bytes is not None:
        known.append(size(preview.bytes))
    if preview.index_bytes:
        known.append(f"indexes {size(preview.index_bytes)}")
    if preview.free_bytes is not None:
        known.append(f"{size(preview.free_bytes)} free on the server")
    return ", ".join(known) or "its size is not known"


def _dependent(dependent: Dependent) -> str:
    how = f" ({_listed(dependent.columns)})" if dependent.columns else ""
    how = how or ("" if dependent.direct else " (through others)")
    return f"{dependent.kind} {dependent.name}{how}"


# -------------------------------------------------------------------- a step


def step_lines(step: RefreshStep, run: str = "RUN") -> Iterator[Line]:
    """A step as it happens. `run` is the id for the commands that a reader may type."""
    check = step.check
    if check is not None:
        outcome = "passed" if check.passed else "overridden" if check.overridden else "FAILED"
        outcome = outcome if check.applies else "has nothing to check"
        level = INFO if check.passed else WARNING if check.overridden else ERROR
        yield Line(f"Check {check.name} {outcome}: {step.text}", level)
        return
    if step.comparison is not None:
        yield from (Line(text) for text in comparison_lines(step.comparison))
        return
    yield Line(step.text, WARNING if step.step is Step.DISCARDED else INFO)
    if step.step is Step.HOLDS:
        yield Line(f"To swap: {tool_command(f'swap {run}')}", WARNING)
        yield Line(f"To leave everything as it is: {tool_command(f'cancel {run}')}", WARNING)
        yield Line(
            "Builds of these tables, and of what reads them, wait for the decision.", WARNING
        )


def over_lines(steps: Sequence[RefreshStep], run: str, clock: Clock = IN_UTC) -> Iterator[str]:
    """The steps of a run, for somebody who looks at it later."""
    last = steps[-1] if steps else None
    for step in steps:
        if step.step in SHOWN or step is last:
            yield from (line.text for line in step_lines(step, run))
    kept = [version for step in steps if step.step is Step.SWAPPED for version in step.kept]
    if kept:
        names = " ".join(dict.fromkeys(version.node.rsplit(".", 1)[-1] for version in kept))
        until = clock.say_with_zone(min(version.until for version in kept))
        undo = tool_command(f"run undo_refresh {names}")
        yield f"Until {until} it can be undone: {undo}"


def comparison_lines(found: Comparison) -> Iterator[str]:
    """The present rows against the new ones: the numbers first, then each column that differs."""
    head = f"{found.name}: {found.rows_before:,} rows now, {found.rows_after:,} new"
    yield f"{head}; {_differences(found)}"
    yield from (f"{INDENT}{note}" for note in found.notes)
    for column in found.columns[:MOST_LISTED]:
        yield f"{INDENT}{column.name}: {_column(column)}"
        yield from (f"{INDENT}{INDENT}{text}" for text in _examples(column))
    if (more := len(found.columns) - MOST_LISTED) > 0:
        yield f"{INDENT}{more} more column{'s differ' if more > 1 else ' differs'}"
    for where, rows in (
        ("only now", found.only_before_rows),
        ("only in the new", found.only_after_rows),
    ):
        for row in rows[:MOST_LISTED]:
            values = [f"{name}={_value(value)}" for name, value in row.items()]
            yield f"{INDENT}{where}: {_listed(values)}"
    if found.equal_columns:
        many = "s are" if found.equal_columns > 1 else " is"
        yield f"{INDENT}{found.equal_columns} other column{many} equal in every compared row"


def _differences(found: Comparison) -> str:
    if found.unknown:
        return f"not compared: {found.unknown}"
    counts = (found.only_before, found.only_after, found.changed)
    words = ("only now", "only in the new", "changed")
    parts = [f"{n:,} {what}" for n, what in zip(counts, words, strict=True) if n is not None]
    text = ", ".join(parts) if any(counts) else "nothing differs"
    return f"{text} ({found.sampled})" if found.sampled else text


def _examples(column: ColumnComparison) -> Iterator[str]:
    """Values before and after; of a column that one side has, its most common values."""
    shown = column.examples[:MOST_LISTED]
    if column.before and column.after:
        yield from (f"{key}: {_value(before)} -> {_value(after)}" for key, before, after in shown)
    elif shown:
        common = (f"{before or after} ({share})" for share, before, after in shown)
        yield f"most common: {', '.join(common)}"


def _column(column: ColumnComparison) -> str:
    parts = []
    if not column.before:
        parts.append(f"new, {column.after}")
    elif not column.after:
        parts.append(f"gone, was {column.before}")
    elif column.before != column.after:
        parts.append(f"{column.before} -> {column.after}")
    if column.changed_rows is not None:
        parts.append(f"changed in {_rows(column.changed_rows)}")
    for what, before, after in (
        ("nulls", column.nulls_before, column.nulls_after),
        ("distinct values", column.distinct_before, column.distinct_after),
    ):
        if not (column.before and column.after):
            number = after if column.after else before
            parts += [] if number is None else [f"{what} {number:,}"]
        elif before != after and None not in (before, after):
            parts.append(f"{what} {before:,} -> {after:,}")
    return "; ".join(parts)


def result_rows(
    steps: Sequence[RefreshStep], run: str, clock: Clock = IN_UTC
) -> list[dict[str, Any]]:
    """Rows for Mage's table of results: a line each, how it ended first."""
    endings = [step for step in steps if step.step in ENDINGS]
    others = [step for step in steps if step.step in SHOWN - ENDINGS]
    endings = endings or [*steps[-1:]]
    return [
        {"node": "REFRESH", "status": "", "type": "", "seconds": 0.0, "rows": None, "why": text}
        for text in (*over_lines(endings, run, clock), *over_lines(others, run, clock))
    ]


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _value(value: str | None) -> str:
    return "null" if value is None else value


def _listed(texts: Sequence[str]) -> str:
    return short_list(texts, MOST_LISTED)
