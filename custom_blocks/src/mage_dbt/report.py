"""What people read of a run: a line per event while it goes on, a table when it is over.

The same words in Mage's log, in `scripts/start` and in the tool.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from logging import ERROR, INFO, WARNING
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mage_dbt import counts
from mage_dbt.clock import Clock
from mage_dbt.folded import TESTS, by_cause
from mage_dbt.lists import MOST_NAMED, short_list
from mage_dbt.run import Event, NodeResult, Run, RunState

if TYPE_CHECKING:
    from mage_dbt.client import RunnerClient


class Say(Protocol):
    """Takes what a person reads, with the level of a log that it belongs to."""

    def __call__(self, text: str, level: int = INFO) -> None: ...


class Line(NamedTuple):
    """Something that a person reads; it may hold line breaks."""

    text: str
    level: int = INFO


ORDER = ("error", "fail", "runtime error", "partial success", "skipped", "warn")
"""What is wrong comes first in a table; the rest keeps the order in which it ran."""

INDENT = "    "

LEVELS = {"warn": WARNING, "error": ERROR}
"""Of what dbt says, and of nodes' statuses; others are INFO."""

WAITS_FOR_COMMIT = "Looking for a newer commit first, and waiting for it when one is on its way."


def follow(client: RunnerClient, run: str, say: Say) -> Run:
    """Says what happens in a run until it is over, then what did not pass; gives the run."""
    progress = Progress()
    for event in client.follow(run, say):
        for line in progress.lines(event):
            say(*line)
    finished = client.finished(run, say)
    for line in ending(finished):
        say(*line)
    return finished


class Progress:
    """Turns the events of one run into lines, counting nodes as dbt counts them as they finish."""

    def __init__(self) -> None:
        self._total = 0
        self._done = 0
        self._planned: frozenset[str] = frozenset()
        self._causes: set[str] = set()

    def lines(self, event: Event) -> Iterator[Line]:
        data = event.data
        if event.kind == "state":
            failed = data["state"] == RunState.ERROR
            text = f"{data['state']}  {data.get('detail', '')}".rstrip()
            yield Line(text, ERROR if failed else INFO)
        elif event.kind == "plan":
            nodes = data.get("nodes", ())
            self._total = data.get("counted", len(data["names"]))
            self._planned = frozenset(one["node"] for one in nodes)
            yield Line(f"Plan: {planned(nodes, self._total, data.get('hooks', 0))}")
            yield from (Line(f"Warning: {text}", WARNING) for text in data["warnings"])
            yield from (Line(f"Note: {text}") for text in data.get("notes", ()))
        elif event.kind == "node_finished":
            node = NodeResult.from_json(data)
            # Hooks are planned by `compile` alone.
            hook = node.type == "operation" and node.node not in self._planned
            self._done += counts.counts(node.kind) and not hook
            if not node.listed:
                return
            if node.status != "skipped":
                yield Line(node_line(node, self._place), level_of(node))
            elif (cause := node.because or node.message) not in self._causes:
                self._causes.add(cause)
                yield Line(f"{node_line(node, self._place)} {MORE_SKIPPED}", WARNING)
        elif event.kind == "log":
            level = LEVELS.get(data.get("level", ""), INFO)
            word = {WARNING: " warning", ERROR: " error"}.get(level, "")
            yield Line(f"dbt{word}: {data['text']}", level)

    @property
    def _place(self) -> str:
        return f"{self._done}/{self._total}"


MORE_SKIPPED = "(others after the same cause stand at the end)"


def planned(nodes: Iterable[Mapping[str, Any]], counted: int, hooks: int) -> str:
    """`4 nodes (1 seed, 3 table models) and 2 project hooks`, of PlannedNode.to_json."""
    kinds = [(one["type"], one["materialized"]) for one in nodes]
    text = _nodes(counted, kinds)
    inside = len(kinds) - counts.number(kinds)
    if inside:
        text += f", with {inside} ephemeral model{'' if inside == 1 else 's'} inside them"
    return f"{text} and {counts.hooks(hooks)}" if hooks else text


def level_of(node: NodeResult) -> int:
    """The level of a log that a node's end belongs to."""
    return ERROR if node.failed else WARNING if node.status in ("warn", "skipped") else INFO


def node_line(node: NodeResult, place: str) -> str:
    """`12/94 success  fct_orders  1.2 s  30000 rows`, and what went wrong under it, all of it."""
    parts = [place, f"{node.status:<7}", node.name, f"{node.seconds:.1f} s"]
    if node.rows is not None and (node.rows or node.type not in TESTS):
        unit = "failure" if node.type in TESTS else "row"
        parts.append(f"{node.rows} {unit}{'' if node.rows == 1 else 's'}")
    line = "  ".join(filter(None, parts))
    reason = why(node)
    return f"{line}\n{_indented(reason)}" if reason else line


def why(node: NodeResult) -> str:
    """Why a node did not simply pass, in dbt's words; empty when it did."""
    if node.because:
        return f"skipped because {node.because} did not pass"
    return node.message if not node.passed or node.status == "warn" else ""


def ending(run: Run) -> Iterator[Line]:
    """The end of a run that was watched: what did not pass, and its counts."""
    yield Line("")
    yield from not_passed(run)
    level = ERROR if run.state is RunState.ERROR else INFO
    yield Line(headline(run), level)
    if run.detail:
        yield Line(run.detail, level)


def summary(run: Run) -> Iterator[str]:
    """All of a run: what did not pass, the table of what did, its counts."""
    yield ""
    yield from (line.text for line in not_passed(run))
    passed = list(
        table(one for one in run.nodes if one.listed and one.passed and one.status != "warn")
    )
    yield from passed
    yield from [""] if passed else []
    yield headline(run)
    if run.detail:
        yield run.detail


def not_passed(run: Run) -> Iterator[Line]:
    """What failed, each with its reason; then what was skipped, by cause; then what warns."""
    failed = sorted(run.failed, key=_rank)
    skipped = by_cause(run.nodes)
    warned = [one for one in run.nodes if one.status == "warn"]
    for one in failed:
        yield Line(node_line(one, ""), ERROR)
    yield from (Line(text) for text in [""] if failed)
    for group in skipped:
        yield Line(str(group).replace("\n", f"\n{INDENT}"), WARNING)
    if any(len(group.nodes) > MOST_NAMED for group in skipped):
        yield Line(f"All of them: ./scripts/mage-dbt show {run.id} --json")
    yield from (Line(text) for text in [""] if skipped)
    for one in warned:
        yield Line(node_line(one, ""), WARNING)
    yield from (Line(text) for text in [""] if warned)


def headline(run: Run) -> str:
    """`Success in 14 s: 94 nodes (30 table models, 64 data tests): 30 success, 64 pass, at 3f2c1ab
    "Add refunds"`."""
    took = f" in {run.seconds:.0f} s" if run.seconds is not None else ""
    late = f", {_duration(run.late_seconds)} late" if run.late_seconds else ""
    morning = f" (the build of {run.morning}{late})" if run.morning else ""
    return (
        f"{run.state}{took}: {tally(run)}"
        f' at {run.commit[:7]} "{run.commit_subject}"{morning}, run {run.id}'
    )


def tally(run: Run) -> str:
    """`94 nodes (30 table models, 64 data tests): 30 success, 64 pass,`, counted as dbt does."""
    kinds = [one.kind for one in run.nodes]
    statuses = ", ".join(f"{count} {status}" for status, count in run.counts().items())
    told = _nodes(counts.number(kinds), kinds)
    return f"{told}: {statuses}," if statuses else told


def _nodes(count: int, kinds: Iterable[counts.Kind]) -> str:
    words = counts.in_words(kinds)
    return f"{count} node{'' if count == 1 else 's'}{f' ({words})' if words else ''}"


def _indented(text: str) -> str:
    return "\n".join(f"{INDENT}{line}".rstrip() for line in text.splitlines())


def story(runs: Sequence[Run], zone: tzinfo) -> Iterator[dict[str, Any]]:
    """A run and its reruns, oldest first, as plain data with one sentence each under `text`.

    `08:00 KST daily build of 2026-11-23 on 3f2c1ab failed at 08:04 KST (fct_orders)`, then
    `08:31 KST fixed by alice with 9a8b7c6 (run 20261123-083100-1b2c3d)`.
    """
    for run in runs:
        failed = [one.name for one in run.failed]
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
    begun = clock.say_with_zone(run.asked_at)
    named = f" ({short_list(failed)})" if failed else ""
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
    at = clock.say_with_zone(run.finished_at)
    if run.state is RunState.CANCELLED:
        whom = run.detail.removeprefix("Cancelled").rstrip(".")
        return f"{what}{by} was cancelled at {at}{whom}{who}"
    how = "succeeded" if run.state is RunState.SUCCESS else "failed"
    return f"{what}{by} {how} at {at}{named}{who}"


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
                yield f"{where}: {short_list(differs[name])}."
    if plan["estimated_seconds"] is not None:
        of = f"{plan['estimated_nodes']} of {plan['counted']} nodes have run before"
        yield f"It takes about {duration(plan['estimated_seconds'])} ({of})."


def commits(count: int) -> str:
    return f"{count} commit{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else _duration(seconds)


def failure(run: Run) -> str:
    """For an exception: what failed first and why, all of it. It names the run's id."""
    first = next(iter(run.failed), None)
    told = f" First: {first.name}: {first.message}" if first else ""
    cancelled = run.state is RunState.CANCELLED
    return f"run {run.id}: {run.detail}" if cancelled else f"run {run.id}: {run.detail}{told}"


def rows(nodes: Sequence[NodeResult]) -> list[dict[str, Any]]:
    """One plain row a node, what is wrong first; what one cause kept from running is one row. It is
    what a block returns and Mage shows."""
    skipped = [
        {
            "node": short_list(one.names),
            "type": one.nodes[0].type,
            "status": "skipped",
            "seconds": 0.0,
        }
        | {"rows": None, "why": one.why}
        for one in by_cause(nodes)
    ]
    told = [(_rank(one), _row(one)) for one in nodes if one.listed and one.status != "skipped"]
    place = (ORDER.index("skipped"), False)
    told += [(place, row) for row in skipped]
    return [row for _, row in sorted(told, key=lambda one: one[0])]


def _row(node: NodeResult) -> dict[str, Any]:
    return {
        "node": node.name,
        "type": node.type,
        "status": node.status,
        "seconds": round(node.seconds, 2),
        "rows": node.rows,
        "why": why(node),
    }


def _rank(node: NodeResult) -> tuple[int, bool]:
    place = ORDER.index(node.status) if node.status in ORDER else len(ORDER)
    return place, bool(place < len(ORDER) and node.type in TESTS)


def table(nodes: Iterable[NodeResult]) -> Iterator[str]:
    """Nodes that passed as aligned text; tests among them are counted, not listed."""
    listed, tests = [], 0
    for one in nodes:
        tests += one.type in TESTS
        if one.type not in TESTS:
            listed.append({name: value for name, value in _row(one).items() if name != "why"})
    yield from columns(listed)
    if tests:
        yield f"and {tests} test{'' if tests == 1 else 's'} that passed"


def columns(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Any rows as aligned text under their names; nothing for no rows."""
    if not found:
        return
    names = list(found[0])
    cells = [["" if row[name] is None else str(row[name]) for name in names] for row in found]
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(names)]
    for row in [names, ["-" * width for width in widths], *cells]:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
