"""Decides what of a finished run is left to run, on the commit of the rerun. Pure.

A story is a run (the root) and all its reruns. A planned node of the story is left when its last
result since the root is not a pass, or when its batches left a gap. Each such node is looked up on
the commit of the rerun: it may be there, renamed, disabled or deleted. Nodes that are stale because
of them are found at planning, on the graph that runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from types import MappingProxyType

from mage_dbt.base.clock import Clock
from mage_dbt.base.lists import short_list
from mage_dbt.commits.history import Changes
from mage_dbt.errors import NothingLeft
from mage_dbt.ledger.ledger import Outcome
from mage_dbt.model.command import Command
from mage_dbt.model.commit import Commit, KnownNode
from mage_dbt.model.folded import TESTS
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.run import PASSED, Run, RunState
from mage_dbt.model.windows import Filled, Window, gaps, merged
from mage_dbt.workers.job import LeftOut

BUILT = ("model", "seed", "snapshot")

BUILDING = ("build", "run")
"""Commands that build the models that a failed test reads."""


@dataclass(frozen=True)
class PastRun:
    """One run of a story: what it planned, and what changed since its commit."""

    run: Run
    nodes: tuple[PlannedNode, ...]
    changes: Changes | None
    """None when git cannot compare the two commits."""


@dataclass(frozen=True)
class Rerun:
    """What runs again, and sentences on the rest."""

    nodes: Mapping[str, str] = field(default_factory=dict)
    """Reasons by unique id on the commit of the rerun; empty when the whole run runs again."""
    planned: tuple[str, ...] = ()
    """Unique ids, on that commit, of all that the story planned and that can run there."""
    gaps: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    """The windows to fill of microbatch models among `nodes`; a model without runs as at first."""
    begun_at: datetime | None = None
    """When the first run began."""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    """Files that were added since the root's commit."""
    resume: str = ""
    """See `Job.resume`."""


class _Fate(Enum):
    THERE = "there"
    RENAMED = "renamed"
    DISABLED = "disabled"
    DELETED = "deleted"
    UNKNOWN = "unknown"


@dataclass
class _Found:
    """A planned node of the story, looked up on the commit of the rerun."""

    planned: PlannedNode
    fate: _Fate
    node: str
    """Its unique id on that commit; its old one when it is not there."""
    name: str
    outcome: Outcome | None
    gaps: tuple[Window, ...] = ()

    @property
    def runs(self) -> bool:
        return self.fate in (_Fate.THERE, _Fate.RENAMED)

    @property
    def passed(self) -> bool:
        return self.outcome is not None and self.outcome.status in PASSED and not self.gaps

    @property
    def failed(self) -> bool:
        """Whether it was executed and did not pass; a skipped node was not executed."""
        return self.outcome is not None and self.outcome.status not in {*PASSED, "skipped"}


def choose(
    story: Sequence[PastRun],
    latest: Mapping[str, Outcome],
    commit: Commit,
    command: Command,
    clock: Clock,
    filled: Mapping[str, Sequence[Filled]] = MappingProxyType({}),
) -> Rerun:
    """What of the story is left to run on `commit`.

    `story` begins with the root; all its runs are over. `latest` are the last results since the
    root was asked for, of runs that did what the root's `command` does. `filled` is what batches
    filled since then. Where the command builds, the models that a failed test reads are built
    again too, because their rows are wrong. Raises NothingLeft, with what became of each node.
    """
    root = story[0]
    aside = [chapter.run for chapter in story if chapter.run.discarded]
    swapped = any(chapter.run.swapped for chapter in story)
    now = clock.beside
    built = [run for run in aside if run.has_own_batches]
    if built and not swapped and now and built[-1].resumable(now):
        return _resumed(story, built[-1], now)
    found = _look_up(story, latest, commit)
    if aside and not swapped and not all(node.passed for node in found.values()):
        again = f"Nothing of run {aside[-1].id} was swapped in: all of it is built aside again."
        return _whole(story, (again,))
    if not found:
        return _whole(story, (f"Run {root.run.id} never got as far as a plan: all of it runs.",))
    for node in found.values():
        node.gaps = gaps(filled.get(node.planned.node, ()))
    left = [node for node in found.values() if not node.passed]
    nodes: dict[str, str] = {}
    out: list[LeftOut] = []
    notes: list[str] = []
    gone: dict[_Fate, list[_Found]] = {}
    for node in left:
        if node.planned.type not in TESTS:
            if node.fate is _Fate.RENAMED:
                notes.append(f"{node.planned.name} was renamed to {node.name}.")
            elif not node.runs:
                gone.setdefault(node.fate, []).append(node)
            if node.runs:
                nodes[node.node] = _why(node, root.run, clock)
    tests_gone = _tests_gone(left)
    for fate, nodes_gone in gone.items():
        out.append(_left_out(fate, nodes_gone, tests_gone, commit, root.run))
    tests = _Tests(found, latest, commit, command.name in BUILDING, root.run, clock)
    for node in left:
        if node.planned.type in TESTS:
            notes += tests.take(node, nodes, out)
    if command.name in BUILDING:
        for above, why in _changed_above(found.values(), story):
            nodes.setdefault(above, why)
    fixed = _fixed(found.values(), root.run)
    out = [*_fixed_since(fixed, clock), *out]
    notes = list(dict.fromkeys(notes))
    hooks, hooks_gone = _failed_hooks(story, latest, commit, clock)
    if nodes:
        changes = root.changes
        return Rerun(
            nodes,
            planned=tuple(node.node for node in found.values() if node.runs),
            gaps={
                node.node: node.gaps
                for node in left
                if node.fate is _Fate.THERE and node.gaps and _can_fill(node, filled, command)
            },
            begun_at=root.run.started_at,
            left_out=tuple(out),
            notes=tuple(notes),
            added=tuple(sorted(changes.added)) if changes else (),
        )
    if hooks:
        return _hooks_alone(story, hooks, bool(left or fixed))
    out += hooks_gone
    if left or out or any(chapter.run.state is RunState.SUCCESS for chapter in story[1:]):
        raise _nothing_left(
            root.run, [*filter(None, (left_out.sentence(()) for left_out in out)), *notes], story
        )
    return _whole(
        story,
        (
            f"Every node of run {root.run.id} passed, and yet it failed ({root.run.detail}): "
            "all of it runs.",
        ),
    )


def _changed_above(found: Iterable[_Found], story: Sequence[PastRun]) -> Iterator[tuple[str, str]]:
    """What a failed node is made of and has been edited since it passed, each with the reason.

    The repair of a model is often made in one that it reads: that has to be built first.
    """
    by_old = {node.planned.node: node for node in found}
    changes = {chapter.run.id: chapter.changes for chapter in story}
    for failed in [node for node in by_old.values() if node.failed and node.runs]:
        seen: set[str] = set()
        waiting = list(failed.planned.depends_on)
        while waiting:
            above = by_old.get(name := waiting.pop())
            if above is None or name in seen:
                continue
            seen.add(name)
            waiting += above.planned.depends_on
            if above.planned.type not in BUILT or above.fate is not _Fate.THERE or not above.passed:
                continue
            assert above.outcome is not None
            since = changes.get(above.outcome.run, story[0].changes)
            if since and above.planned.path in since.edited:
                yield (
                    above.node,
                    f"{above.planned.path} has changed, and {failed.name} failed on it",
                )


def _resumed(story: Sequence[PastRun], last: Run, now: datetime) -> Rerun:
    """The batches that a refresh has left, and those since then."""
    since = Window(last.started_at or last.asked_at, now)
    left = {node: merged((*windows, since)) for node, windows in last.unfilled().items()}
    note = f"Goes on with the batches that run {last.id} has built aside."
    return replace(_whole(story, (note,)), gaps=left, resume=last.id)


def _can_fill(model: _Found, filled: Mapping[str, Sequence[Filled]], command: Command) -> bool:
    """Whether only the gaps are filled, because a batch was filled, or may have been before the run
    was cut off. Otherwise the model runs as at first: a full refresh must replace all rows."""
    results = filled.get(model.planned.node, ())
    return any(result.filled for result in results) or (
        not command.full_refresh and any(result.cut_off for result in results)
    )


def _failed_hooks(
    story: Sequence[PastRun], latest: Mapping[str, Outcome], commit: Commit, clock: Clock
) -> tuple[list[str], list[LeftOut]]:
    """Names of the failed hooks of the story that are left, and what became of the others."""
    there = {known.node for known in commit.nodes if known.enabled}
    left: list[str] = []
    gone: list[LeftOut] = []
    hooks = {
        hook.node: hook.name
        for chapter in story
        for hook in chapter.run.nodes
        if hook.type == "operation" and not hook.passed
    }
    for node, name in hooks.items():
        outcome = latest.get(node)
        if outcome and outcome.status in PASSED:
            how = f"by {clock.say_with_zone(outcome.at)} in run {outcome.run} ({outcome.caller})"
            gone.append(LeftOut({node: name}, f"The hook {{names}} has succeeded since, {how}."))
        elif node in there:
            left.append(name)
        else:
            gone.append(LeftOut({node: name}, f"The hook {{names}} is not at {commit.sha[:7]}."))
    return left, gone


def _hooks_alone(story: Sequence[PastRun], hooks: Sequence[str], others: bool) -> Rerun:
    """dbt runs hooks around nodes and gives them the nodes' results, so nodes run too."""
    root = story[0]
    which = f"the hook{'s' if len(hooks) > 1 else ''} {short_list(hooks)}"
    why = f"Only {which} is left of run {root.run.id}" if others else f"Only {which} failed"
    count = len(root.nodes)
    again = "its node runs" if count == 1 else f"all {count} nodes of it run"
    return Rerun(notes=(f"{why}. dbt runs hooks together with nodes, so {again} again.",))


def _whole(story: Sequence[PastRun], notes: tuple[str, ...]) -> Rerun:
    if any(chapter.run.state is RunState.SUCCESS for chapter in story[1:]):
        raise _nothing_left(story[0].run, [], story)
    return Rerun(notes=notes)


def _nothing_left(root: Run, notes: Sequence[str], story: Sequence[PastRun]) -> NothingLeft:
    reruns = [chapter.run for chapter in story[1:] if chapter.run.state is RunState.SUCCESS]
    sentences = list(notes) or [
        f"Run {rerun.id}, by {rerun.caller}, repaired it." for rerun in reruns
    ]
    return NothingLeft(
        " ".join([f"Nothing of run {root.id} is left to run.", *sentences]),
        "To build something all the same, select it.",
    )


def _look_up(
    story: Sequence[PastRun], latest: Mapping[str, Outcome], commit: Commit
) -> dict[str, _Found]:
    """All that the story planned, by the unique id on the commit of the rerun."""
    there = {candidate.node: candidate for candidate in commit.nodes}
    files: dict[tuple[str, str], list[KnownNode]] = {}
    for candidate in commit.nodes:
        files.setdefault((candidate.type, candidate.path), []).append(candidate)
    found: dict[str, _Found] = {}
    for chapter in story:
        for planned in chapter.nodes:
            fate, known = _fate(planned, chapter.changes, there, files)
            node = known.node if known else planned.node
            outcome = _later(latest.get(planned.node), latest.get(node))
            earlier = found.get(node)
            if earlier is not None:
                outcome = _later(earlier.outcome, outcome)
                if earlier.fate is _Fate.RENAMED:  # notes use the name that it had first
                    planned, fate = earlier.planned, earlier.fate
            name = known.name if known else planned.name
            found[node] = _Found(planned, fate, node, name, outcome)
    return found


def _fate(
    planned: PlannedNode,
    changes: Changes | None,
    there: Mapping[str, KnownNode],
    files: Mapping[tuple[str, str], Sequence[KnownNode]],
) -> tuple[_Fate, KnownNode | None]:
    known = there.get(planned.node)
    if known is not None:
        return (_Fate.THERE if known.enabled else _Fate.DISABLED), known
    if changes is None:
        return _Fate.UNKNOWN, None
    path = changes.renamed.get(planned.path)
    candidates = files.get((planned.type, path), ()) if path else ()
    if planned.path.endswith((".yml", ".yaml")):  # one file holds many nodes, so it proves nothing
        candidates = ()
    if len(candidates) == 1:
        return (_Fate.RENAMED if candidates[0].enabled else _Fate.DISABLED), candidates[0]
    return _Fate.DELETED, None


def _later(first: Outcome | None, second: Outcome | None) -> Outcome | None:
    """The later of two results; an executed one counts more than a skipped one."""
    known = [outcome for outcome in (first, second) if outcome is not None]
    return max(known, key=lambda outcome: (outcome.status != "skipped", outcome.at), default=None)


def _tests_gone(left: Sequence[_Found]) -> Mapping[str, list[str]]:
    """By the old id of a node, its tests that are left and not there either."""
    found: dict[str, list[str]] = {}
    for node in left:
        if node.planned.type in TESTS and not node.runs:
            for up in node.planned.depends_on:
                found.setdefault(up, []).append(node.planned.node)
    return found


def _left_out(
    fate: _Fate, gone: Sequence[_Found], tests: Mapping[str, list[str]], commit: Commit, root: Run
) -> LeftOut:
    """A sentence on nodes that are left and not there, all for the same reason."""
    sha = commit.sha[:7]
    along = {test for node in gone for test in tests.get(node.planned.node, ())}
    of = "its tests with it" if len(gone) == 1 else "their tests with them"
    with_tests = f", and {len(along)} of {of}" if along else ""
    how = {
        _Fate.DISABLED: f"{{names}} {{is}} disabled at {sha}{with_tests}: left out.",
        _Fate.DELETED: f"{{names}} {{was}} deleted since{with_tests}: left out.",
        _Fate.UNKNOWN: (
            f"{{names}} {{does}} not exist at {sha}{with_tests}: left out. Renames "
            f"cannot be told, because git cannot compare {root.commit[:7]} with {sha}."
        ),
    }[fate]
    return LeftOut({node.node: node.planned.name for node in gone}, how)


class _Tests:
    """Adds tests that are left, and the models that they read when they failed."""

    def __init__(
        self,
        found: Mapping[str, _Found],
        latest: Mapping[str, Outcome],
        commit: Commit,
        builds: bool,
        root: Run,
        clock: Clock,
    ) -> None:
        self._found = found
        self._by_old = {other.planned.node: other for other in found.values()}
        self._latest = latest
        self._there = {other.node for other in commit.nodes if other.enabled}
        self._commit = commit
        self._builds = builds
        self._root = root
        self._clock = clock

    def take(self, test: _Found, nodes: dict[str, str], out: list[LeftOut]) -> Iterator[str]:
        """Adds the test to `nodes` or `out`; gives notes."""
        by_old = self._by_old
        kinds = tuple(f"{kind}." for kind in BUILT)
        read = [up for up in test.planned.depends_on if up.startswith(kinds)]
        now = {up: by_old[up].node if up in by_old else up for up in read}
        remaining = [up for up in read if now[up] in self._there]
        if test.runs:
            nodes[test.node] = _why(test, self._root, self._clock)
        if test.failed and self._builds:
            self._build_again(test, {up: now[up] for up in remaining}, nodes)
        if test.fate is _Fate.RENAMED:
            yield f"The test {test.planned.name} was renamed to {test.name}."
        elif not test.runs and (remaining or not read):
            renamed = [up for up in remaining if now[up] != up]
            if renamed:  # the renamed model brings its tests under their new names
                for up in renamed:
                    if by_old[up].passed:
                        yield f"{by_old[up].planned.name} was renamed to {by_old[up].name}."
                return
            how = "is disabled" if test.fate is _Fate.DISABLED else "does not exist"
            out.append(
                LeftOut(
                    {test.node: test.planned.name},
                    f"The test {{names}} {how} at {self._commit.sha[:7]}: left out.",
                )
            )

    def _build_again(self, test: _Found, models: Mapping[str, str], nodes: dict[str, str]) -> None:
        """Adds those of the models (new id by old) that the story planned."""
        assert test.outcome is not None
        for up, now in models.items():
            outcome = _later(self._latest.get(up), self._latest.get(now))
            if outcome and outcome.status in PASSED and outcome.at > test.outcome.at:
                continue  # built since the test failed, so the test alone runs
            if now in self._found:
                when = self._clock.say_with_zone(test.outcome.at)
                nodes.setdefault(
                    now, f"its test {test.planned.name} failed at {when} in run {test.outcome.run}"
                )


def _why(node: _Found, root: Run, clock: Clock) -> str:
    name = f"{node.planned.name}, renamed since, " if node.fate is _Fate.RENAMED else ""
    if node.outcome is None:
        return f"{name}never reached in run {root.id}"
    when = f"at {clock.say_with_zone(node.outcome.at)} in run {node.outcome.run}"
    if node.outcome.status != "skipped":
        missing = short_list([f"{gap} UTC" for gap in node.gaps])
        what = f"its batches of {missing} were not filled" if node.gaps else "failed"
        return f"{name}{what} {when}"
    because = f" because {node.outcome.because} did not pass" if node.outcome.because else ""
    return f"{name}skipped {when}{because}"


def _fixed(found: Iterable[_Found], root: Run) -> list[_Found]:
    """Nodes that did not pass in the root and have passed since."""
    passed = {node.node for node in root.nodes if node.passed}
    return [node for node in found if node.passed and node.planned.node not in passed]


def _fixed_since(fixed: Sequence[_Found], clock: Clock) -> Iterator[LeftOut]:
    runs: dict[str, list[_Found]] = {}
    for node in fixed:
        assert node.outcome is not None
        runs.setdefault(node.outcome.run, []).append(node)
    for run, nodes in runs.items():
        last = clock.say_with_zone(max(node.outcome.at for node in nodes if node.outcome))
        by = nodes[0].outcome.caller if nodes[0].outcome else ""
        yield LeftOut(
            {node.node: node.name for node in nodes},
            f"{{names}} {{has}} succeeded since, by {last} in run {run} ({by}): left out.",
        )
