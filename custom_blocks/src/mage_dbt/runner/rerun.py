"""What of a finished run is left to run, on the commit it is run again on. Pure.

A story is a run (the root) and every rerun of it. Left is what the story planned and whose last
result since the root is not a pass, or whose batches left a gap. Each such node is looked up on the
commit used: there as it was, renamed, disabled, deleted. What is stale because of them is found on
the graph that runs, at planning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import MappingProxyType

from mage_dbt.clock import Clock
from mage_dbt.command import Command
from mage_dbt.commit import Commit, KnownNode
from mage_dbt.errors import NothingLeft
from mage_dbt.folded import TESTS
from mage_dbt.history import Changes
from mage_dbt.ledger.ledger import Outcome
from mage_dbt.lists import short_list
from mage_dbt.plan import PlannedNode
from mage_dbt.run import PASSED, Run, RunState
from mage_dbt.windows import Filled, Window, gaps
from mage_dbt.worker import LeftOut

BUILT = ("model", "seed", "snapshot")

BUILDING = ("build", "run")
"""Commands that build the models that a failed test reads."""


@dataclass(frozen=True)
class Chapter:
    """One run of a story: what it planned, and what changed from its commit to the one used."""

    run: Run
    nodes: tuple[PlannedNode, ...]
    changes: Changes | None
    """None when git cannot compare the two commits."""


@dataclass(frozen=True)
class Rerun:
    """What runs again, and what is said of the rest."""

    nodes: Mapping[str, str] = field(default_factory=dict)
    """Unique ids on the commit used, each with why; none for a run that is run again whole."""
    planned: tuple[str, ...] = ()
    """Unique ids, on the commit used, of all that the story planned and that can run there."""
    gaps: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    """Of microbatch models among `nodes`, the windows to fill; without, one runs as at first."""
    begun_at: datetime | None = None
    """When the first run began."""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    """Files that came since the root's commit."""


class _Fate(Enum):
    THERE = "there"
    RENAMED = "renamed"
    DISABLED = "disabled"
    DELETED = "deleted"
    UNKNOWN = "unknown"


@dataclass
class _Found:
    """A planned node of the story, looked up on the commit used."""

    planned: PlannedNode
    fate: _Fate
    node: str
    """Its unique id there; its old one when it is not there."""
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
        """It was executed and did not pass; a skipped one was not executed."""
        return self.outcome is not None and self.outcome.status not in {*PASSED, "skipped"}


def choose(
    story: Sequence[Chapter],
    latest: Mapping[str, Outcome],
    commit: Commit,
    command: Command,
    clock: Clock,
    filled: Mapping[str, Sequence[Filled]] = MappingProxyType({}),
) -> Rerun:
    """What of the story is left to run on `commit`.

    `story` begins with the root; all its runs are over. `latest` are the last results since the
    root was asked for, of runs that did what the root's `command` does; `filled` is what batches
    filled since then. Where the command builds, the models that a failed test reads are built
    again too, because their rows are wrong. Raises NothingLeft, which says what became of it all.
    """
    root = story[0]
    found = _look_up(story, latest, commit)
    if not found:
        return _whole(story, (f"Run {root.run.id} never got as far as a plan: all of it runs.",))
    for one in found.values():
        one.gaps = gaps(filled.get(one.planned.node, ()))
    left = [one for one in found.values() if not one.passed]
    nodes: dict[str, str] = {}
    out: list[LeftOut] = []
    notes: list[str] = []
    gone: dict[_Fate, list[_Found]] = {}
    for one in left:
        if one.planned.type not in TESTS:
            if one.fate is _Fate.RENAMED:
                notes.append(f"{one.planned.name} was renamed to {one.name}.")
            elif not one.runs:
                gone.setdefault(one.fate, []).append(one)
            if one.runs:
                nodes[one.node] = _why(one, root.run, clock)
    tests_gone = _tests_gone(left)
    for fate, nodes_gone in gone.items():
        out.append(_left_out(fate, nodes_gone, tests_gone, commit, root.run))
    tests = _Tests(found, latest, commit, command.name in BUILDING, root.run, clock)
    for one in left:
        if one.planned.type in TESTS:
            notes += tests.take(one, nodes, out)
    fixed = _fixed(found.values(), root.run)
    out = [*_told_fixed(fixed, clock), *out]
    notes = list(dict.fromkeys(notes))
    hooks, hooks_gone = _failed_hooks(story, latest, commit, clock)
    if nodes:
        changes = root.changes
        return Rerun(
            nodes,
            planned=tuple(one.node for one in found.values() if one.runs),
            gaps={
                one.node: one.gaps
                for one in left
                if one.fate is _Fate.THERE and one.gaps and _can_fill(one, filled, command)
            },
            begun_at=root.run.started_at,
            left_out=tuple(out),
            notes=tuple(notes),
            added=tuple(sorted(changes.added)) if changes else (),
        )
    if hooks:
        return _hooks_alone(story, hooks, bool(left or fixed))
    out += hooks_gone
    if left or out or any(one.run.state is RunState.SUCCESS for one in story[1:]):
        raise _nothing_left(root.run, [*filter(None, (one.told(()) for one in out)), *notes], story)
    return _whole(
        story,
        (
            f"Every node of run {root.run.id} passed, and yet it failed ({root.run.detail}): "
            "all of it runs.",
        ),
    )


def _can_fill(one: _Found, filled: Mapping[str, Sequence[Filled]], command: Command) -> bool:
    """Whether the gaps alone are to be filled: something was filled, or may have been before the
    run was cut off. Otherwise the model runs as at first, for a full refresh must replace all."""
    results = filled.get(one.planned.node, ())
    return any(result.filled for result in results) or (
        not command.full_refresh and any(result.cut_off for result in results)
    )


def _failed_hooks(
    story: Sequence[Chapter], latest: Mapping[str, Outcome], commit: Commit, clock: Clock
) -> tuple[list[str], list[LeftOut]]:
    """Names of the hooks that failed in the story and are left; and what became of the others."""
    there = {one.node for one in commit.nodes if one.enabled}
    left: list[str] = []
    gone: list[LeftOut] = []
    hooks = {
        one.node: one.name
        for chapter in story
        for one in chapter.run.nodes
        if one.type == "operation" and not one.passed
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


def _hooks_alone(story: Sequence[Chapter], hooks: Sequence[str], others: bool) -> Rerun:
    """dbt runs hooks around nodes and gives them those nodes' results, so nodes run too."""
    root = story[0]
    which = f"the hook{'s' if len(hooks) > 1 else ''} {short_list(hooks)}"
    said = f"Only {which} is left of run {root.run.id}" if others else f"Only {which} failed"
    count = len(root.nodes)
    again = "its node runs" if count == 1 else f"all {count} nodes of it run"
    return Rerun(notes=(f"{said}. dbt runs hooks together with nodes, so {again} again.",))


def _whole(story: Sequence[Chapter], notes: tuple[str, ...]) -> Rerun:
    if any(one.run.state is RunState.SUCCESS for one in story[1:]):
        raise _nothing_left(story[0].run, [], story)
    return Rerun(notes=notes)


def _nothing_left(root: Run, notes: Sequence[str], story: Sequence[Chapter]) -> NothingLeft:
    reruns = [one.run for one in story[1:] if one.run.state is RunState.SUCCESS]
    said = list(notes) or [f"Run {one.id}, by {one.caller}, repaired it." for one in reruns]
    return NothingLeft(
        " ".join([f"Nothing of run {root.id} is left to run.", *said]),
        "To build something all the same, select it.",
    )


def _look_up(
    story: Sequence[Chapter], latest: Mapping[str, Outcome], commit: Commit
) -> dict[str, _Found]:
    """By the id on the commit used, everything that the story planned."""
    there = {one.node: one for one in commit.nodes}
    files: dict[tuple[str, str], list[KnownNode]] = {}
    for one in commit.nodes:
        files.setdefault((one.type, one.path), []).append(one)
    found: dict[str, _Found] = {}
    for chapter in story:
        for planned in chapter.nodes:
            fate, known = _fate(planned, chapter.changes, there, files)
            node = known.node if known else planned.node
            outcome = _later(latest.get(planned.node), latest.get(node))
            earlier = found.get(node)
            if earlier is not None:
                outcome = _later(earlier.outcome, outcome)
                if earlier.fate is _Fate.RENAMED:  # still to be said under the name it had first
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
    if planned.path.endswith((".yml", ".yaml")):  # one file, many nodes: it tells nothing
        candidates = ()
    if len(candidates) == 1:
        return (_Fate.RENAMED if candidates[0].enabled else _Fate.DISABLED), candidates[0]
    return _Fate.DELETED, None


def _later(one: Outcome | None, other: Outcome | None) -> Outcome | None:
    """The later of two results; one that was executed stands over one that was skipped."""
    known = [outcome for outcome in (one, other) if outcome is not None]
    return max(known, key=lambda outcome: (outcome.status != "skipped", outcome.at), default=None)


def _tests_gone(left: Sequence[_Found]) -> Mapping[str, list[str]]:
    """By the id that a node had, its tests that are left and not there either."""
    found: dict[str, list[str]] = {}
    for one in left:
        if one.planned.type in TESTS and not one.runs:
            for up in one.planned.depends_on:
                found.setdefault(up, []).append(one.planned.node)
    return found


def _left_out(
    fate: _Fate, gone: Sequence[_Found], tests: Mapping[str, list[str]], commit: Commit, root: Run
) -> LeftOut:
    """Nodes that are left and, all for the same reason, not there."""
    sha = commit.sha[:7]
    along = {test for one in gone for test in tests.get(one.planned.node, ())}
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
    return LeftOut({one.node: one.planned.name for one in gone}, how)


class _Tests:
    """Takes tests that are left, and the models that they read when they failed."""

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

    def take(self, one: _Found, nodes: dict[str, str], out: list[LeftOut]) -> Iterator[str]:
        """Adds to `nodes` and `out`; gives what else is to be told."""
        by_old = self._by_old
        kinds = tuple(f"{kind}." for kind in BUILT)
        read = [up for up in one.planned.depends_on if up.startswith(kinds)]
        now = {up: by_old[up].node if up in by_old else up for up in read}
        remaining = [up for up in read if now[up] in self._there]
        if one.runs:
            nodes[one.node] = _why(one, self._root, self._clock)
        if one.failed and self._builds:
            self._build_again(one, {up: now[up] for up in remaining}, nodes)
        if one.fate is _Fate.RENAMED:
            yield f"The test {one.planned.name} was renamed to {one.name}."
        elif not one.runs and (remaining or not read):
            renamed = [up for up in remaining if now[up] != up]
            if renamed:  # the renamed model brings its tests under their new names
                for up in renamed:
                    if by_old[up].passed:
                        yield f"{by_old[up].planned.name} was renamed to {by_old[up].name}."
                return
            how = "is disabled" if one.fate is _Fate.DISABLED else "does not exist"
            out.append(
                LeftOut(
                    {one.node: one.planned.name},
                    f"The test {{names}} {how} at {self._commit.sha[:7]}: left out.",
                )
            )

    def _build_again(self, one: _Found, models: Mapping[str, str], nodes: dict[str, str]) -> None:
        """Those of the models, by old and new id, that the story planned; it asked for no other."""
        assert one.outcome is not None
        for up, now in models.items():
            outcome = _later(self._latest.get(up), self._latest.get(now))
            if outcome and outcome.status in PASSED and outcome.at > one.outcome.at:
                continue  # built since the test failed: the test alone tells
            if now in self._found:
                when = self._clock.say_with_zone(one.outcome.at)
                nodes.setdefault(
                    now, f"its test {one.planned.name} failed at {when} in run {one.outcome.run}"
                )


def _why(one: _Found, root: Run, clock: Clock) -> str:
    name = f"{one.planned.name}, renamed since, " if one.fate is _Fate.RENAMED else ""
    if one.outcome is None:
        return f"{name}never reached in run {root.id}"
    when = f"at {clock.say_with_zone(one.outcome.at)} in run {one.outcome.run}"
    if one.outcome.status != "skipped":
        missing = short_list([f"{gap} UTC" for gap in one.gaps])
        what = f"its batches of {missing} were not filled" if one.gaps else "failed"
        return f"{name}{what} {when}"
    because = f" because {one.outcome.because} did not pass" if one.outcome.because else ""
    return f"{name}skipped {when}{because}"


def _fixed(found: Iterable[_Found], root: Run) -> list[_Found]:
    """What did not pass in the root and has passed since."""
    passed = {one.node for one in root.nodes if one.passed}
    return [one for one in found if one.passed and one.planned.node not in passed]


def _told_fixed(fixed: Sequence[_Found], clock: Clock) -> Iterator[LeftOut]:
    runs: dict[str, list[_Found]] = {}
    for one in fixed:
        assert one.outcome is not None
        runs.setdefault(one.outcome.run, []).append(one)
    for run, nodes in runs.items():
        last = clock.say_with_zone(max(one.outcome.at for one in nodes if one.outcome))
        by = nodes[0].outcome.caller if nodes[0].outcome else ""
        yield LeftOut(
            {one.node: one.name for one in nodes},
            f"{{names}} {{has}} succeeded since, by {last} in run {run} ({by}): left out.",
        )
