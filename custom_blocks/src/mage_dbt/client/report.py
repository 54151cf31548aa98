"""A run as text: a line for each event while it runs, a table when it is over.

Mage's log, `scripts/start` and the tool print the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from logging import ERROR, INFO, WARNING
from typing import TYPE_CHECKING, Any, Protocol

from mage_dbt.base.clock import Clock
from mage_dbt.base.lists import MOST_NAMED, short_list
from mage_dbt.base.tool_command import tool_command
from mage_dbt.client import refresh_lines
from mage_dbt.client.line import INDENT, Line
from mage_dbt.model import counts
from mage_dbt.model.folded import TESTS, by_cause
from mage_dbt.model.plan import Plan, PlannedNode
from mage_dbt.model.refresh import RefreshStep, Step
from mage_dbt.model.run import Event, EventKind, NodeResult, Run, RunState
from mage_dbt.model.story import Chapter
from mage_dbt.model.survey import Survey

if TYPE_CHECKING:
    from mage_dbt.client.client import RunnerClient


class Say(Protocol):
    """Prints a text, or logs it at a level."""

    def __call__(self, text: str, level: int = INFO) -> None: ...


ORDER = ("error", "fail", "runtime error", "partial success", "skipped", "warn")
"""The statuses that come first in a table; other nodes keep the order in which they ran."""

LEVELS = {"warn": WARNING, "error": ERROR}
"""The levels of dbt's messages and of node statuses; others are INFO."""

WAITS_FOR_COMMIT = "Looking for a newer commit first, and waiting for it when one is on its way."


def follow(client: RunnerClient, run: str, say: Say) -> Run:
    """Prints the events of a run until it is over, then what did not pass. Returns the run."""
    progress = Progress(run)
    for event in client.follow(run, say):
        for line in progress.lines(event):
            say(*line)
    finished = client.finished(run, say)
    for line in ending(finished):
        say(*line)
    return finished


class Progress:
    """Turns the events of one run into lines, and counts finished nodes as dbt counts them."""

    def __init__(self, run: str = "RUN") -> None:
        """`run` is its id, for the commands that a reader may type."""
        self._run = run
        self._total = 0
        self._done = 0
        self._planned: frozenset[str] = frozenset()
        self._causes: set[str] = set()

    def lines(self, event: Event) -> Iterator[Line]:
        data = event.data
        if event.kind is EventKind.STATE:
            failed = data["state"] == RunState.ERROR
            text = f"{data['state']}  {data.get('detail', '')}".rstrip()
            yield Line(text, ERROR if failed else INFO)
        elif event.kind is EventKind.PLAN:
            nodes = [PlannedNode.from_json(node) for node in data.get("nodes", ())]
            self._total = data.get("counted", len(data["names"]))
            self._planned = frozenset(node.node for node in nodes)
            yield Line(f"Plan: {planned(nodes, self._total, data.get('hooks', 0))}")
            yield from (Line(f"Warning: {text}", WARNING) for text in data["warnings"])
            yield from (Line(f"Note: {text}") for text in data.get("notes", ()))
        elif event.kind is EventKind.NODE_FINISHED:
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
        elif event.kind is EventKind.LOG:
            level = LEVELS.get(data.get("level", ""), INFO)
            word = {WARNING: " warning", ERROR: " error"}.get(level, "")
            yield Line(f"dbt{word}: {data['text']}", level)
        elif event.kind is EventKind.REFRESH:
            step = RefreshStep.from_json(data)
            if step.step is not Step.RESTORED:  # the run's log has the same text, with its level
                yield from refresh_lines.step_lines(step, self._run)

    @property
    def _place(self) -> str:
        return f"{self._done}/{self._total}"


MORE_SKIPPED = "(others after the same cause stand at the end)"


def planned(nodes: Iterable[PlannedNode], counted: int, hooks: int) -> str:
    """`4 nodes (1 seed, 3 table models) and 2 project hooks`."""
    kinds = [node.kind for node in nodes]
    text = _nodes(counted, kinds)
    inside = len(kinds) - counts.number(kinds)
    if inside:
        text += f", with {inside} ephemeral model{'' if inside == 1 else 's'} inside them"
    return f"{text} and {counts.hooks(hooks)}" if hooks else text


def level_of(node: NodeResult) -> int:
    """The log level of a finished node."""
    return ERROR if node.failed else WARNING if node.status in ("warn", "skipped") else INFO


def node_line(node: NodeResult, place: str) -> str:
    """`12/94 success  fct_orders  1.2 s  30000 rows`, with the whole reason of a failure below."""
    parts = [place, f"{node.status:<7}", node.name, f"{node.seconds:.1f} s"]
    if node.rows is not None and (node.rows or node.type not in TESTS):
        unit = "failure" if node.type in TESTS else "row"
        parts.append(f"{node.rows} {unit}{'' if node.rows == 1 else 's'}")
    line = "  ".join(filter(None, parts))
    reason = why(node)
    return f"{line}\n{_indented(reason)}" if reason else line


def why(node: NodeResult) -> str:
    """Why a node did not pass, or warned, in dbt's words; empty when it passed."""
    if node.because:
        return f"skipped because {node.because} did not pass"
    return node.message if not node.passed or node.status == "warn" else ""


def ending(run: Run) -> Iterator[Line]:
    """The last lines of a run that was followed: what did not pass, and its counts."""
    yield Line("")
    yield from not_passed(run)
    level = ERROR if run.state is RunState.ERROR else INFO
    yield Line(headline(run), level)
    if run.detail:
        yield Line(run.detail, level)


def summary(run: Run) -> Iterator[str]:
    """The whole run: what did not pass, a table of what passed, its counts."""
    yield ""
    yield from (line.text for line in not_passed(run))
    passed = list(
        table(node for node in run.nodes if node.listed and node.passed and node.status != "warn")
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
    warned = [node for node in run.nodes if node.status == "warn"]
    for node in failed:
        yield Line(node_line(node, ""), ERROR)
    yield from (Line(text) for text in [""] if failed)
    for group in skipped:
        yield Line(str(group).replace("\n", f"\n{INDENT}"), WARNING)
    if any(len(group.nodes) > MOST_NAMED for group in skipped):
        yield Line(f"All of them: {tool_command(f'show {run.id} --json')}")
    yield from (Line(text) for text in [""] if skipped)
    for node in warned:
        yield Line(node_line(node, ""), WARNING)
    yield from (Line(text) for text in [""] if warned)


def headline(run: Run) -> str:
    """`Success in 14 s: 94 nodes (30 table models, 64 data tests): 30 success, 64 pass, at 3f2c1ab
    "Add refunds"`."""
    took = f" in {run.seconds:.0f} s" if run.seconds is not None else ""
    late = f", {_duration(run.late_seconds)} late" if run.late_seconds else ""
    build = f" (the build of {run.morning}{late})" if run.morning else ""
    return (
        f"{run.state}{took}: {tally(run)}"
        f' at {run.commit[:7]} "{run.commit_subject}"{build}, run {run.id}'
    )


def tally(run: Run) -> str:
    """`94 nodes (30 table models, 64 data tests): 30 success, 64 pass,`, counted as dbt does."""
    kinds = [node.kind for node in run.nodes]
    statuses = ", ".join(f"{count} {status}" for status, count in run.counts().items())
    nodes = _nodes(counts.number(kinds), kinds)
    return f"{nodes}: {statuses}," if statuses else nodes


def _nodes(count: int, kinds: Iterable[counts.Kind]) -> str:
    words = counts.in_words(kinds)
    return f"{count} node{'' if count == 1 else 's'}{f' ({words})' if words else ''}"


def _indented(text: str) -> str:
    return "\n".join(f"{INDENT}{line}".rstrip() for line in text.splitlines())


def story(runs: Sequence[tuple[Run, Sequence[str]]], zone: tzinfo) -> Iterator[Chapter]:
    """A run and its reruns, oldest first, a chapter each; times in its sentences are in `zone`.

    With each run come the names of its failed nodes.

    `08:00 KST daily build of 2026-11-23 on 3f2c1ab failed at 08:04 KST (fct_orders)`, then
    `08:31 KST fixed by alice with 9a8b7c6 (run 20261123-083100-1b2c3d)`.
    """
    for run, failed in runs:
        yield Chapter(
            run=run.id,
            operation=run.operation,
            asked_at=run.asked_at,
            finished_at=run.finished_at,
            state=run.state,
            caller=run.caller,
            commit=run.commit,
            failed=tuple(failed),
            notes=run.notes,
            text=_sentence(run, runs[0][0], failed, zone),
        )


def _sentence(run: Run, root: Run, failed: Sequence[str], zone: tzinfo) -> str:
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


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """One plain row per planned node."""
    return [
        {
            "node": node.name,
            "type": node.type,
            "as": node.materialized,
            "why": node.why,
            "writes": node.relation.replace('"', ""),
            "rows now": node.rows,
            "seconds": None if node.estimated_seconds is None else round(node.estimated_seconds, 1),
        }
        for node in plan.nodes
    ]


def plan_lines(plan: Plan) -> Iterator[str]:
    """The lines of a plan beside its nodes."""
    yield from refresh_lines.preview_lines(plan.refresh)
    yield from (f"Warning: {text}" for text in plan.warnings)
    yield from (f"Note: {text}" for text in plan.notes)
    yield from (f"Would wait: {text}" for text in plan.waits_for)
    if differs := plan.differs:
        commit, newest = plan.commit[:7], differs.newest[:7]
        for names, where in (
            (differs.changed, f"Other at {commit} than at {newest}, the newest"),
            (differs.only_here, f"Only at {commit}"),
            (differs.only_in_newest, f"Only at {newest}, the newest"),
        ):
            if names:
                yield f"{where}: {short_list(names)}."
    if plan.estimated_seconds is not None:
        of = f"{plan.estimated_nodes} of {plan.counted} nodes have run before"
        yield f"It takes about {duration(plan.estimated_seconds)} ({of})."


def survey_lines(survey: Survey, clock: Clock) -> Iterator[str]:
    """What the warehouse holds beside the models: under a word each, ten characters wide."""
    for model in survey.changed:
        yield f"columns   {model.question}"
    if survey.unknown:
        yield f"columns   {survey.unknown}"
    if survey.kept:
        many = len(survey.kept) > 1
        until = clock.say_in_full(min(version.until for version in survey.kept))
        held = refresh_lines.size(survey.kept_bytes)
        yield (
            f"kept      {len(survey.kept)} former relation{'s' if many else ''} for undo_refresh, "
            f"{held}; the daily build drops {'the first' if many else 'it'} after {until}"
        )


def commits(count: int) -> str:
    return f"{count} commit{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else _duration(seconds)


def failure(run: Run) -> str:
    """For an exception: the run's id, what failed first, and the whole reason."""
    first = next(iter(run.failed), None)
    reason = f" First: {first.name}: {first.message}" if first else ""
    cancelled = run.state is RunState.CANCELLED
    return f"run {run.id}: {run.detail}" if cancelled else f"run {run.id}: {run.detail}{reason}"


def rows(nodes: Sequence[NodeResult]) -> list[dict[str, Any]]:
    """A plain row for each node, failures first; nodes skipped for one cause share a row.

    A block returns these rows, and Mage shows them.
    """
    skipped = [
        {
            "node": short_list(group.names),
            "type": group.nodes[0].type,
            "status": "skipped",
            "seconds": 0.0,
        }
        | {"rows": None, "why": group.why}
        for group in by_cause(nodes)
    ]
    ranked = [
        (_rank(node), _row(node)) for node in nodes if node.listed and node.status != "skipped"
    ]
    place = (ORDER.index("skipped"), False)
    ranked += [(place, row) for row in skipped]
    return [row for _, row in sorted(ranked, key=lambda entry: entry[0])]


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
    """Passed nodes as aligned text; tests are counted, not listed."""
    listed, tests = [], 0
    for node in nodes:
        tests += node.type in TESTS
        if node.type not in TESTS:
            listed.append({name: value for name, value in _row(node).items() if name != "why"})
    yield from columns(listed)
    if tests:
        yield f"and {tests} test{'' if tests == 1 else 's'} that passed"


def columns(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rows as aligned text under their column names; nothing without rows."""
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
