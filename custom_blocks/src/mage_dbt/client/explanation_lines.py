"""The causes of a failed run as text, as the tool shows them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from mage_dbt.base.clock import Clock
from mage_dbt.base.lists import short_list
from mage_dbt.base.tool_command import tool_command
from mage_dbt.client.line import INDENT
from mage_dbt.client.report import columns, duration
from mage_dbt.model.explanation import Cause, ChangedFile, Explanation, FailingRows, Seen
from mage_dbt.model.failure import FailureClass
from mage_dbt.model.plain_words import class_advice

MEANS = {
    FailureClass.INFRASTRUCTURE: "infrastructure: a rerun may pass",
    FailureClass.CODE: "code: somebody has to change it",
    FailureClass.DATA: "data: look at the rows",
    FailureClass.STOPPED: "stopped by a decision",
    FailureClass.UNKNOWN: "of an unknown kind",
}
"""What a class means for who reads it."""

GONE = ", which dbt-metric no longer has"
"""Said of a node that nothing can run again."""

NODES_SHOWN = 10
CHANGES_SHOWN = 10
DIFF_LINES = 20
"""Of the first changed file's diff."""
READERS_SHOWN = 5
WIDTH = 10
"""Characters of a label."""


def causes_of(explanation: Explanation, clock: Clock) -> Iterator[str]:
    """Each cause of the run: its kind, what failed and waits, what changed, what was seen."""
    for number, cause in enumerate(explanation.causes, 1):
        yield ""
        yield from _cause(cause, number, len(explanation.causes), clock)
    if any(cause.nodes or cause.waiting or cause.waiting_tests for cause in explanation.causes):
        yield ""
        yield from _ahead(explanation, clock)


def _cause(cause: Cause, number: int, of: int, clock: Clock) -> Iterator[str]:
    means = MEANS.get(cause.failure_class, str(cause.failure_class))
    state = f" (SQLSTATE {cause.sqlstate})" if cause.sqlstate else ""
    yield f"Cause {number} of {of}, {means}{state}"
    if cause.sentence:
        yield f"{INDENT}{cause.sentence}"
    if not cause.of_many_objects:
        yield f"{INDENT}{cause.title}"
    if cause.advice != class_advice(cause):
        yield from _labelled("to do", [cause.advice] if cause.advice else [])
    if cause.refresh:
        name = shlex.quote(cause.nodes[0].name)
        yield from _labelled("refresh", [tool_command(f"run full_refresh --model {name}")])
    yield from _labelled("hint", _hint(cause))
    yield from _labelled("failed", _failed(cause))
    yield from _labelled("line", _excerpt(cause))
    yield from _labelled("waits", [_waits(cause)] if cause.waiting or cause.waiting_tests else [])
    yield from _labelled("passed", _passed(cause, clock))
    yield from _labelled("changed", _changes(cause, clock))
    yield from _labelled("rows", _history(cause))
    if cause.failing_rows:
        yield from _labelled("found", _failing_rows(cause.failing_rows))
    yield from _labelled("seen", _seen(cause, clock))
    yield from _labelled("stale", _stale(cause, clock))


def _labelled(label: str, lines: Iterable[str]) -> Iterator[str]:
    for at, line in enumerate(lines):
        yield f"{INDENT}{label if at == 0 else '':<{WIDTH}}{line}".rstrip()


def _failed(cause: Cause) -> Iterator[str]:
    for node in cause.nodes[:NODES_SHOWN]:
        tested = f", which tests {node.tested}" if node.tested else ""
        where = f" ({node.path})" if node.path else ""
        missing = f": {node.object}" if node.object else ""
        yield f"{node.name}{tested}{where}{missing}{GONE if node.gone else ''}"
    if (more := len(cause.nodes) - NODES_SHOWN) > 0:
        yield f"and {more} more"


def _hint(cause: Cause) -> Iterator[str]:
    if cause.nodes and not cause.of_many_objects:
        yield from cause.nodes[0].hint.splitlines()


def _excerpt(cause: Cause) -> Iterator[str]:
    node = next((node for node in cause.nodes if node.excerpt), None)
    for at, text in enumerate(node.excerpt, node.excerpt_from) if node else ():
        mark = ">" if node and at == node.line else " "
        yield f"{at:>4} {mark} {text}"


def _waits(cause: Cause) -> str:
    tests = f"{cause.waiting_tests} test{'' if cause.waiting_tests == 1 else 's'}"
    names = short_list(cause.waiting)
    if not cause.waiting:
        return tests
    counted = f"{len(cause.waiting)}: {names}"
    return f"{counted}; and {tests}" if cause.waiting_tests else counted


def _passed(cause: Cause, clock: Clock) -> Iterator[str]:
    if cause.passed:
        at = clock.say_in_full(cause.passed.at)
        yield f"last at {at} on {cause.passed.commit[:7]} (run {cause.passed.run})"


def _changes(cause: Cause, clock: Clock) -> Iterator[str]:
    for number, change in enumerate(cause.changes[:CHANGES_SHOWN]):
        yield changed_line(change, clock)
        if number == 0:
            lines = change.diff.splitlines()
            yield from (f"{INDENT}{line}" for line in lines[:DIFF_LINES])
            if len(lines) > DIFF_LINES or change.cut:
                yield f"{INDENT}…"
    if (more := len(cause.changes) - CHANGES_SHOWN) > 0:
        yield f"and {more} more files"
    if cause.changes_note:
        yield cause.changes_note
    if cause.came:
        yield changed_line(cause.came, clock)


def changed_line(change: ChangedFile, clock: Clock) -> str:
    """`models/fct_orders.sql in 9f31c2e by Kim, 2026-11-22 17:12 KST, "Rename discount code"`."""
    at = clock.say_with_zone(change.at)
    note = f" ({change.note})" if change.note else ""
    return (
        f'{change.path} in {change.commit[:7]} by {change.author}, {at}, "{change.subject}"{note}'
    )


def _history(cause: Cause) -> Iterator[str]:
    by_node: dict[str, list[str]] = {}
    for day in cause.history:
        rows = "-" if day.rows is None else str(day.rows)
        by_node.setdefault(day.name, []).append(rows)
    for name, days in by_node.items():
        yield f"{name}: {' '.join(days)} (rows in the last daily builds)"


def _failing_rows(found: FailingRows) -> Iterator[str]:
    names = _distinct(["", *found.columns])
    table = []
    for row in found.rows:
        values = ["NULL" if value is None else " ".join(value.split()) for value in row.values]
        table.append(dict(zip(names, ["new" if row.new else "", *values], strict=False)))
    yield from columns(table)
    if found.hidden:
        yield f"hidden: {', '.join(found.hidden)}"
    if found.total is not None and found.total > len(found.rows):
        yield f"{len(found.rows)} of {found.total} rows"
    if found.note:
        yield found.note


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where one comes again."""
    found: list[str] = []
    for name in names:
        again = found.count(name)
        found.append(f"{name} ({again + 1})" if again else name)
    return found


def _seen(cause: Cause, clock: Clock) -> Iterator[str]:
    yield from (_earlier(seen, clock) for seen in cause.seen)
    if (more := cause.seen_total - len(cause.seen)) > 0:
        yield f"and {more} times before"


def _earlier(seen: Seen, clock: Clock) -> str:
    text = f"{clock.say_in_full(seen.at)} {seen.name} (run {seen.run})"
    if seen.after_seconds is None:
        return f"{text}: {seen.ended}"
    text += f": passed again after {duration(seen.after_seconds)}, run by {seen.by}"
    if not seen.commit:
        return f"{text}, on the same commit"
    by = f" by {seen.author}" if seen.author else ""
    return f'{text}, with {seen.commit[:7]} "{seen.subject}"{by}'


def _stale(cause: Cause, clock: Clock) -> Iterator[str]:
    built = [relation for relation in cause.stale if relation.as_of]
    if built:
        oldest = min(relation.as_of for relation in built if relation.as_of)
        names = short_list([relation.name for relation in built])
        yield f"{len(built)} as of {clock.say_in_full(oldest)} or later: {names}"
    if never := [relation.name for relation in cause.stale if not relation.as_of]:
        yield f"{len(never)} never built: {short_list(never)}"
    if readers := sorted({label for relation in cause.stale for label in relation.exposures}):
        yield f"read by {short_list(readers, READERS_SHOWN)}"


def _ahead(explanation: Explanation, clock: Clock) -> Iterator[str]:
    if explanation.unchanged:
        yield "Nothing has changed."
        return
    gone = f"{explanation.gone} no longer in dbt-metric"
    if not explanation.left:
        rest = f"All else of it has passed since; {gone}."
        yield rest if explanation.gone else "All of it has passed since."
        return
    nodes = f"{explanation.left} node{'' if explanation.left == 1 else 's'}"
    text = f"{nodes} left{f', {gone}' if explanation.gone else ''}."
    if explanation.whole_at:
        text += f" Rerun now it would be whole at {clock.say_with_zone(explanation.whole_at)}"
        if explanation.over_by:
            late = explanation.whole_at > explanation.over_by
            by = clock.say_with_zone(explanation.over_by)
            text += f", {'after' if late else 'before'} {by}"
        text += "."
    yield text
