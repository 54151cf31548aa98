"""What people read of a run: a line per event while it goes on, a table when it is over.

The same words in Mage's log, in `scripts/start` and in the tool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from mage_dbt.clock import Clock
from mage_dbt.run import Event, NodeResult, Run, RunState

if TYPE_CHECKING:
    from mage_dbt.client import RunnerClient

Say = Callable[[str], None]

ORDER = ("error", "fail", "runtime error", "partial success", "skipped", "warn")
"""What is wrong comes first in a table; the rest keeps the order in which it ran."""

LONGEST_CELL = 90

WAITS_FOR_COMMIT = "Looking for a newer commit first, and waiting for it when one is on its way."

TESTS = ("test", "unit_test")


def follow(client: RunnerClient, run: str, say: Say) -> Run:
    """Says what happens in a run until it is over, then its table; gives the finished run."""
    progress = Progress()
    for event in client.follow(run, say):
        for line in progress.lines(event):
            say(line)
    finished = client.finished(run, say)
    for line in summary(finished):
        say(line)
    return finished


class Progress:
    """Turns the events of one run into lines, counting nodes as they finish."""

    def __init__(self) -> None:
        self._total = 0
        self._done = 0
        self._planned: frozenset[str] = frozenset()

    def lines(self, event: Event) -> Iterator[str]:
        data = event.data
        if event.kind == "state":
            yield f"{data['state']}  {data.get('detail', '')}".rstrip()
        elif event.kind == "plan":
            self._total = len(data["names"])
            self._planned = frozenset(one["node"] for one in data.get("nodes", ()))
            yield f"Plan: {self._total} nodes"
            yield from (f"Warning: {text}" for text in data["warnings"])
            yield from (f"Note: {text}" for text in data.get("notes", ()))
        elif event.kind == "node_finished":
            # Hooks are planned by `compile` alone.
            self._done += data.get("type") != "operation" or data["node"] in self._planned
            yield node_line(NodeResult.from_json(data), f"{self._done}/{self._total}")
        elif event.kind == "log":
            yield f"dbt: {data['text']}"


def node_line(node: NodeResult, place: str) -> str:
    """`12/94 success  fct_orders  1.2 s  30000 rows`, and what went wrong under it."""
    parts = [place, f"{node.status:<7}", node.name, f"{node.seconds:.1f} s"]
    if node.rows is not None and (node.rows or node.type not in TESTS):
        parts.append(f"{node.rows} {_unit(node)}")
    line = "  ".join(parts)
    reason = why(node)
    return f"{line}\n    {reason}" if reason else line


def why(node: NodeResult) -> str:
    """Why a node did not simply pass, in dbt's words; empty when it did."""
    if node.because:
        return f"skipped because {node.because} did not pass"
    return node.message if not node.passed or node.status == "warn" else ""


def summary(run: Run) -> Iterator[str]:
    """The end of a run: its table when something did not pass, its counts always."""
    yield ""
    yield from table(run.nodes)
    yield ""
    yield headline(run)
    if run.detail:
        yield run.detail


def headline(run: Run) -> str:
    """`Success in 14 s: 94 nodes (30 success, 64 pass) at 3f2c1ab "Add refunds"`."""
    counts = ", ".join(f"{count} {status}" for status, count in run.counts().items())
    took = f" in {run.seconds:.0f} s" if run.seconds is not None else ""
    late = f", {_duration(run.late_seconds)} late" if run.late_seconds else ""
    morning = f" (the build of {run.morning}{late})" if run.morning else ""
    return (
        f"{run.state}{took}: {len(run.nodes)} nodes{f' ({counts})' if counts else ''}"
        f' at {run.commit[:7]} "{run.commit_subject}"{morning}, run {run.id}'
    )


def story(runs: Sequence[Run], zone: tzinfo) -> Iterator[dict[str, Any]]:
    """A run and its reruns, oldest first, as plain data with one sentence each under `text`.

    `08:00 daily build of 2026-11-23 on 3f2c1ab failed at 08:04 (fct_orders)`, then
    `08:31 fixed by alice with 9a8b7c6 (run 20261123-083100-1b2c3d)`.
    """
    for run in runs:
        failed = [one.name for one in run.nodes if not one.passed and one.status != "skipped"]
        yield {
            "run": run.id,
            "operation": run.operation,
            "asked_at": run.asked_at.isoformat(),
            "finished_at": run.finished_at.isoformat() if run.finished_at else None,
            "state": run.state,
            "caller": run.caller,
            "commit": run.commit,
            "failed": failed,
            "notes": list(run.notes),
            "text": _chapter(run, runs[0], failed, zone),
        }


def _chapter(run: Run, root: Run, failed: Sequence[str], zone: tzinfo) -> str:
    clock = Clock(zone, beside=root.asked_at)
    begun = clock.say(run.asked_at)
    names = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
    named = f" ({names})" if names else ""
    if run is root:
        called = f"daily build of {run.morning}" if run.morning else run.title
        what = f"{begun} {called} on {run.commit[:7]}"
        by = "" if run.morning else f" by {run.caller}"
        who = ""
    else:
        if run.state is RunState.SUCCESS:
            return f"{begun} fixed by {run.caller} with {run.commit[:7]} (run {run.id})"
        what, by = f"{begun} rerun by {run.caller} on {run.commit[:7]}", ""
        who = f" (run {run.id})"
    if run.finished_at is None:
        return f"{what}{by} is {run.state}{who}"
    ended = clock.say(run.finished_at)
    if run.state is RunState.CANCELLED:
        whom = run.detail.removeprefix("Cancelled").rstrip(".")
        return f"{what}{by} was cancelled at {ended}{whom}{who}"
    how = "succeeded" if run.state is RunState.SUCCESS else "failed"
    return f"{what}{by} {how} at {ended}{named}{who}"


def plan_rows(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One plain row a planned node; `plan` is Plan.to_json."""
    return [
        {
            "node": one["name"],
            "type": one["type"],
            "as": one["materialized"],
            "why": one["why"],
            "writes": one["relation"].replace('"', ""),
            "rows now": one["rows"],
            "seconds": None
            if one["estimated_seconds"] is None
            else round(one["estimated_seconds"], 1),
        }
        for one in plan["nodes"]
    ]


def plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """What is to be said of a plan beside its nodes."""
    yield from (f"Warning: {text}" for text in plan["warnings"])
    yield from (f"Note: {text}" for text in plan["notes"])
    yield from (f"Would wait: {text}" for text in plan["waits_for"])
    if differs := plan["differs"]:
        for name, what in (
            ("changed", "Other at {commit} than at {newest}, the newest"),
            ("only_here", "Only at {commit}"),
            ("only_in_newest", "Only at {newest}, the newest"),
        ):
            if differs[name]:
                where = what.format(commit=plan["commit"][:7], newest=differs["newest"][:7])
                yield f"{where}: {', '.join(differs[name])}."
    if plan["estimated_seconds"] is not None:
        of = f"{plan['estimated_nodes']} of {len(plan['nodes'])} nodes have run before"
        yield f"It takes about {duration(plan['estimated_seconds'])} ({of})."


def commits(count: int) -> str:
    return f"{count} commit{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else _duration(seconds)


def failure(run: Run) -> str:
    """One paragraph for an exception: what failed first and why. It names the run's id."""
    first = next((one for one in run.nodes if not one.passed and one.status != "skipped"), None)
    told = f" First: {first.name}: {first.message}" if first else ""
    cancelled = run.state is RunState.CANCELLED
    return f"run {run.id}: {run.detail}" if cancelled else f"run {run.id}: {run.detail}{told}"


def rows(nodes: Sequence[NodeResult]) -> list[dict[str, Any]]:
    """One plain row a node, what is wrong first; what a block returns and Mage shows."""

    def rank(one: NodeResult) -> tuple[int, bool]:
        place = ORDER.index(one.status) if one.status in ORDER else len(ORDER)
        return place, bool(place < len(ORDER) and one.type in TESTS)

    return [
        {
            "node": one.name,
            "type": one.type,
            "status": one.status,
            "seconds": round(one.seconds, 2),
            "rows": one.rows,
            "why": why(one),
        }
        for one in sorted(nodes, key=rank)
    ]


def table(nodes: Sequence[NodeResult]) -> Iterator[str]:
    """The rows as aligned text; tests that passed are counted, not listed."""
    passed = [one for one in nodes if one.type in TESTS and one.status == "pass"]
    told = [one for one in nodes if one not in passed]
    yield from columns([{**row, "why": row["why"].replace("\n", " ")} for row in rows(told)])
    if passed:
        yield f"and {len(passed)} tests that passed"


def columns(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Any rows as aligned text under their names; nothing for no rows."""
    if not found:
        return
    names = list(found[0])
    cells = [[_cell(row[name]) for name in names] for row in found]
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(names)]
    for row in [names, ["-" * width for width in widths], *cells]:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def _unit(node: NodeResult) -> str:
    return "failures" if node.type in TESTS else "rows"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
