"""What of a finished run is left to run, on the commit it is run again on. Pure.

A story is a run (the root) and every rerun of it. Left is what the story planned and whose last
result since the root is not a pass. Each such node is looked up on the commit used: there as it
was, renamed, disabled, deleted. What depends on them is dbt's answer, at planning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mage_dbt.clock import Clock
from mage_dbt.commit import Commit, KnownNode
from mage_dbt.errors import NothingLeft
from mage_dbt.history import Changes
from mage_dbt.ledger.ledger import Outcome
from mage_dbt.plan import PlannedNode
from mage_dbt.run import PASSED, Run, RunState

TESTS = ("test", "unit_test")

BUILT = ("model", "seed", "snapshot")

MOST_NAMED = 5
"""Names in one sentence; more are counted."""


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

    @property
    def runs(self) -> bool:
        return self.fate in (_Fate.THERE, _Fate.RENAMED)

    @property
    def passed(self) -> bool:
        return self.outcome is not None and self.outcome.status in PASSED

    @property
    def failed(self) -> bool:
        """It was executed and did not pass; a skipped one was not executed."""
        return self.outcome is not None and self.outcome.status not in {*PASSED, "skipped"}


def choose(
    story: Sequence[Chapter],
    latest: Mapping[str, Outcome],
    commit: Commit,
    builds: bool,
    clock: Clock,
) -> Rerun:
    """What of the story is left to run on `commit`.

    `story` begins with the root; all its runs are over. `latest` are the last results since the
    root was asked for. `builds` says whether the root's command builds models: then the models
    that a failed test reads are built again too, because their rows are wrong. Raises NothingLeft,
    which says what became of it all.
    """
    root = story[0]
    found = _look_up(story, latest, commit)
    if not found:
        return _whole(story, (f"Run {root.run.id} never got as far as a plan: all of it runs.",))
    left = [one for one in found.values() if not one.passed]
    nodes: dict[str, str] = {}
    notes: list[str] = []
    for one in left:
        if one.planned.type not in TESTS:
            notes += _said(one, left, commit, root.run)
            if one.runs:
                nodes[one.node] = _why(one, root.run, clock)
    for one in left:
        if one.planned.type in TESTS:
            notes += _test(one, found, latest, commit, builds, root.run, clock, nodes)
    fixed = _fixed(found.values(), root.run)
    notes = list(dict.fromkeys([*_told_fixed(fixed, clock), *notes]))
    if nodes:
        changes = root.changes
        return Rerun(nodes, tuple(notes), tuple(sorted(changes.added)) if changes else ())
    if left or fixed or any(one.run.state is RunState.SUCCESS for one in story[1:]):
        raise _nothing_left(root.run, notes, story)
    return _whole(
        story,
        (
            f"Every node of run {root.run.id} passed, and yet it failed ({root.run.detail}): "
            "all of it runs.",
        ),
    )


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


def _said(one: _Found, left: Sequence[_Found], commit: Commit, root: Run) -> Iterator[str]:
    """What is to be told of a node that is left and not there as it was."""
    name, sha = one.planned.name, commit.sha[:7]
    tests = sum(
        other.planned.type in TESTS
        and not other.runs
        and one.planned.node in other.planned.depends_on
        for other in left
    )
    with_tests = f", and {tests} of its tests with it" if tests else ""
    if one.fate is _Fate.RENAMED:
        yield f"{name} was renamed to {one.name}."
    elif one.fate is _Fate.DISABLED:
        yield f"{name} is disabled at {sha}{with_tests}: left out."
    elif one.fate is _Fate.DELETED:
        yield f"{name} was deleted since{with_tests}: left out."
    elif one.fate is _Fate.UNKNOWN:
        yield (
            f"{name} does not exist at {sha}{with_tests}: left out. Whether it was renamed cannot "
            f"be told, because git cannot compare {root.commit[:7]} with {sha}."
        )


def _test(
    one: _Found,
    found: Mapping[str, _Found],
    latest: Mapping[str, Outcome],
    commit: Commit,
    builds: bool,
    root: Run,
    clock: Clock,
    nodes: dict[str, str],
) -> Iterator[str]:
    """Takes a test that is left, and the models it reads when it failed, into `nodes`."""
    by_old = {other.planned.node: other for other in found.values()}
    there = {other.node for other in commit.nodes if other.enabled}
    read = [
        up for up in one.planned.depends_on if up.startswith(tuple(f"{kind}." for kind in BUILT))
    ]
    now = {up: by_old[up].node if up in by_old else up for up in read}
    remaining = [up for up in read if now[up] in there]
    if one.runs:
        nodes[one.node] = _why(one, root, clock)
    if one.failed and builds:
        assert one.outcome is not None
        for up in remaining:
            outcome = _later(latest.get(up), latest.get(now[up]))
            if outcome and outcome.status in PASSED and outcome.at > one.outcome.at:
                continue  # built since the test failed: the test alone tells
            when = clock.say(one.outcome.at)
            nodes.setdefault(
                now[up], f"its test {one.planned.name} failed at {when} in run {one.outcome.run}"
            )
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
        yield f"The test {one.planned.name} {how} at {commit.sha[:7]}: left out."


def _why(one: _Found, root: Run, clock: Clock) -> str:
    name = f"{one.planned.name}, renamed since, " if one.fate is _Fate.RENAMED else ""
    if one.outcome is None:
        return f"{name}never reached in run {root.id}"
    when = f"at {clock.say(one.outcome.at)} in run {one.outcome.run}"
    if one.outcome.status != "skipped":
        return f"{name}failed {when}"
    because = f" because {one.outcome.because} did not pass" if one.outcome.because else ""
    return f"{name}skipped {when}{because}"


def _fixed(found: Iterable[_Found], root: Run) -> list[_Found]:
    """What did not pass in the root and has passed since."""
    passed = {one.node for one in root.nodes if one.passed}
    return [one for one in found if one.passed and one.planned.node not in passed]


def _told_fixed(fixed: Sequence[_Found], clock: Clock) -> Iterator[str]:
    runs: dict[str, list[_Found]] = {}
    for one in fixed:
        assert one.outcome is not None
        runs.setdefault(one.outcome.run, []).append(one)
    for run, nodes in runs.items():
        last = max(one.outcome.at for one in nodes if one.outcome)
        by = nodes[0].outcome.caller if nodes[0].outcome else ""
        has = "has" if len(nodes) == 1 else "have"
        yield (
            f"{_names([one.name for one in nodes])} {has} succeeded since, by {clock.say(last)} in "
            f"run {run} ({by}): left out."
        )


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
