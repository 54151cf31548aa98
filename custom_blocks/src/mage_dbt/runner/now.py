"""Finds out how the daily build stands: for the first page, and for `GET /v1/now`.

Nothing here loads a run's nodes. What changes only when a run ends is kept until one does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from mage_dbt.commits.store import Commits
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.builds import BuildLedger, Built
from mage_dbt.ledger.run_progress import RunProgress, RunProgresses
from mage_dbt.model.daily_build import ON_TIME_FOR
from mage_dbt.model.deadline import Deadline
from mage_dbt.model.explanation import Explanation
from mage_dbt.model.failure import FailureClass
from mage_dbt.model.now import (
    Colour,
    Day,
    DayState,
    MageState,
    Now,
    NowState,
    Preparing,
    Progress,
    RerunOffer,
    WhyNot,
)
from mage_dbt.model.run import PASSED, Run, RunState
from mage_dbt.model.schedule import Schedule
from mage_dbt.runner.status import preparing_of

DAYS = 30
"""Local dates on the calendar strip."""

EXPLAINED_FOR = timedelta(seconds=2)
"""How long an explanation is kept while no run ends: nodes of a run that goes on pass meanwhile."""

COLOURS: Mapping[NowState, Colour] = {
    NowState.NOTHING_READY: Colour.RED,
    NowState.NEVER_BUILT: Colour.GREY,
    NowState.WAITING: Colour.AMBER,
    NowState.RUNNING: Colour.AMBER,
    NowState.FAILING: Colour.RED,
    NowState.FAILED: Colour.RED,
    NowState.RERUNNING: Colour.AMBER,
    NowState.REPAIRED: Colour.GREEN,
    NowState.PASSED: Colour.GREEN,
    NowState.CANCELLED: Colour.AMBER,
    NowState.MISSED: Colour.RED,
}


TELLS_NEW = (NowState.FAILED, NowState.REPAIRED, NowState.PASSED, NowState.CANCELLED)
"""The states in which nothing goes on that would build the new models."""


@dataclass(frozen=True)
class _Kept:
    """What is the same until a run ends, or another date begins."""

    last_end: int
    today: date
    usual_seconds: float | None
    builds: tuple[Built, ...]


class NowMaker:
    """Tells how the daily build stands. Any method from any thread."""

    def __init__(
        self,
        commits: Commits,
        ledger: Ledger,
        progresses: RunProgresses,
        explain: Callable[[str], Explanation],
        schedule: Callable[[], Schedule],
        built: Container[str],
        over_by: time | None,
        executing: Callable[[], Sequence[str]],
        mage: Callable[[], MageState | None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`built` holds the keys of daily builds that have a run, `over_by` is DAILY_BUILD_OVER_BY;
        `executing` returns the runs that this runner has."""
        self._commits = commits
        self._ledger = ledger
        self._builds = BuildLedger(ledger)
        self._progresses = progresses
        self._explain = explain
        self._schedule = schedule
        self._built = built
        self._over_by = over_by
        self._executing = executing
        self._mage = mage
        self._clock = clock
        self._guard = threading.Lock()
        self._kept: _Kept | None = None
        self._planned: dict[str, int] = {}
        self._counted: tuple[str, Mapping[str, int]] | None = None
        self._new: tuple[tuple[str, int], tuple[str, ...]] | None = None
        self._explained: tuple[tuple[str, int], datetime, Explanation] | None = None

    def now(self) -> Now:
        """Raises LedgerUnreachable while PostgreSQL is away."""
        now = self._clock()
        schedule = self._schedule()
        story = self._builds.newest()
        kept = self._until_a_run_ends(now, schedule)
        active = self._active()
        build = story[0] if story else None
        counts = self._counts(build) if build else {}
        failed = sum(
            number for status, number in counts.items() if status not in (*PASSED, "skipped")
        )
        explanation = self._explanation(story, failed, kept.last_end, now)
        state = state_of(
            story,
            failed,
            whole=bool(explanation and explanation.causes and not explanation.left),
            missed=missed_at(schedule, build, now),
            live=self._commits.live is not None,
            preparing=bool(self._commits.preparing),
        )
        red = state not in (NowState.PASSED, NowState.REPAIRED, NowState.NEVER_BUILT)
        preparing = preparing_of(self._commits, schedule.daily_build.zone)
        mage = self._mage()
        passed = sum(number for status, number in counts.items() if status in PASSED)
        gone = 0
        nodes = max(self._planned_of(build), sum(counts.values())) if build else 0
        if explanation and explanation.causes and build and build.state.final:
            gone = explanation.gone
            passed = max(passed, nodes - explanation.left - gone)
        return Now(
            at=now,
            state=state,
            colour=Colour.GREY if _only_waits(state, preparing) else COLOURS[state],
            build=build.id if build else None,
            day=build.morning if build else None,
            cause=build.cause if build else "",
            caller=build.caller if build else "",
            detail=build.detail if build else "",
            begun_at=_begun_at(build),
            ended_at=_ended_at(story, state),
            commit=build.commit if build else "",
            commit_subject=build.commit_subject if build else "",
            nodes=nodes,
            passed=passed,
            gone=gone,
            new=self._new_models(kept.last_end) if state in TELLS_NEW else (),
            seconds=build.seconds if build else None,
            reruns=len(story[1:]),
            rerunning=next((run.id for run in story[1:] if not run.state.final), ""),
            repaired_by=_repaired_by(story) if state is NowState.REPAIRED else "",
            explanation=explanation if red and state is not NowState.NOTHING_READY else None,
            rerun=self._offer(story, state, explanation, preparing, now),
            preparing=preparing,
            missed_at=missed_at(schedule, build, now),
            over_by=self._deadline(schedule, build),
            next_build=next(iter(schedule.coming(now, self._built, 1)), None),
            next_build_paused=schedule.is_paused(now),
            usual_seconds=kept.usual_seconds,
            days=days(kept.builds, kept.today, build, state),
            active=active,
            mage_answers=mage is MageState.ANSWERS,
            mage=mage,
        )

    def _new_models(self, last_end: int) -> tuple[str, ...]:
        """Names of what the live commit has and no run has come to; looked up once for each commit
        and each end of a run."""
        live = self._commits.live
        if live is None:
            return ()
        key = (live.sha, last_end)
        with self._guard:
            if self._new is None or self._new[0] != key:
                names = {
                    model.node: model.name
                    for model in live.models
                    if model.materialized != "ephemeral"
                }
                found = self._builds.never_ran(list(names))
                self._new = (key, tuple(sorted(names[node] for node in found)))
            return self._new[1]

    def _until_a_run_ends(self, now: datetime, schedule: Schedule) -> _Kept:
        zone = schedule.daily_build.zone
        today = now.astimezone(zone).date()
        last_end = self._builds.last_end()
        with self._guard:  # held: who waits wants the same
            kept = self._kept
            if kept is None or (kept.last_end, kept.today) != (last_end, today):
                since = datetime.combine(today - timedelta(days=DAYS), time(), zone)
                kept = self._kept = _Kept(
                    last_end,
                    today,
                    self._builds.usual_seconds(now),
                    tuple(self._builds.since(since, zone.key)),
                )
            return kept

    def _explanation(
        self, story: Sequence[Run], failed: int, last_end: int, now: datetime
    ) -> Explanation | None:
        """Of the newest run of the story that failed; None when none did."""
        run = explained_run(story, failed)
        if run is None:
            return None
        key = (run, last_end)
        with self._guard:
            known = self._explained
            if known is None or known[0] != key or now - known[1] > EXPLAINED_FOR:
                known = self._explained = (key, now, self._explain(run))
            return known[2]

    def _offer(
        self,
        story: Sequence[Run],
        state: NowState,
        explanation: Explanation | None,
        preparing: Preparing | None,
        now: datetime,
    ) -> RerunOffer | None:
        live = self._commits.live
        return offer(
            story,
            state,
            explanation,
            (live.sha, live.subject) if live else None,
            preparing,
            now,
        )

    def _deadline(self, schedule: Schedule, build: Run | None) -> datetime | None:
        if build is None or build.morning is None:
            return None
        daily_build = schedule.daily_build
        over_at = Deadline.of(daily_build, self._over_by).over_at(date.fromisoformat(build.morning))
        return over_at.astimezone(daily_build.zone)

    def _counts(self, build: Run) -> Mapping[str, int]:
        """The build's results by status, counted once when it is over."""
        with self._guard:
            if self._counted and self._counted[0] == build.id:
                return self._counted[1]
        found = self._builds.counts(build.id)
        if build.state.final:
            with self._guard:
                self._counted = (build.id, found)
        return found

    def _planned_of(self, build: Run) -> int:
        return self._all_planned([build.id]).get(build.id, 0)

    def _all_planned(self, runs: Sequence[str]) -> dict[str, int]:
        """A plan never changes, and may be large, so it is counted once."""
        with self._guard:
            missing = [run for run in runs if run not in self._planned]
        found = self._builds.planned(missing)
        with self._guard:
            if len(self._planned) > 1_000:
                self._planned.clear()
            self._planned.update(found)
            return {run: self._planned[run] for run in runs if run in self._planned}

    def _active(self) -> tuple[Progress, ...]:
        ids = list(dict.fromkeys([*self._executing(), *self._builds.unfinished()]))
        runs = [run for run in self._ledger.heads(ids) if not run.state.final]
        planned = self._all_planned([run.id for run in runs])
        return tuple(
            progress(
                run,
                self._progresses.now(run.id) if run.started_at else None,
                planned.get(run.id, 0),
            )
            for run in sorted(runs, key=lambda run: (not run.started_at, run.asked_at))
        )


def progress(run: Run, far: RunProgress | None, planned: int) -> Progress:
    """A run that waits or goes on; `far` is None before it has begun."""
    return Progress(
        run=run.id,
        title=run.title,
        operation=run.operation,
        request=run.request,
        morning=run.morning,
        follows=run.follows,
        state=run.state,
        caller=run.caller,
        why=run.why,
        since=run.started_at or run.asked_at,
        detail=run.detail,
        running=tuple(node.name for node in far.at_work) if far else (),
        done=far.done if far else 0,
        planned=max(planned, far.done if far else 0),
        failed=far.failed if far else 0,
        holds=bool(far and far.holds),
    )


def state_of(
    story: Sequence[Run],
    failed: int,
    *,
    whole: bool,
    missed: datetime | None,
    live: bool,
    preparing: bool,
) -> NowState:
    """How the newest full build stands.

    `story` begins with it, then come its reruns. `failed` counts its failed nodes. `whole`: all
    that did not pass in its newest failed run has passed since, in whatever run.
    """
    build = story[0] if story else None
    if build is not None and build.state is RunState.QUEUED:
        return NowState.WAITING
    if build is not None and not build.state.final:
        return NowState.FAILING if failed else NowState.RUNNING
    if any(not run.state.final for run in story):
        return NowState.RERUNNING
    settled = _settled(story, whole)
    good = settled in (NowState.PASSED, NowState.REPAIRED, NowState.NEVER_BUILT)
    if not live and good and not (preparing and story):
        return NowState.NOTHING_READY
    return NowState.MISSED if missed else settled


def _settled(story: Sequence[Run], whole: bool) -> NowState:
    """The same when nothing goes on."""
    if not story:
        return NowState.NEVER_BUILT
    if story[0].state is RunState.SUCCESS:
        return NowState.PASSED
    if whole or any(run.state is RunState.SUCCESS for run in story[1:]):
        return NowState.REPAIRED
    errors = any(run.state is RunState.ERROR for run in story)
    decided = story[0].state is RunState.CANCELLED and not story[0].stopped_with_its_runner
    if decided and not errors:
        return NowState.CANCELLED
    return NowState.FAILED


def explained_run(story: Sequence[Run], failed: int) -> str | None:
    """The run whose explanation tells why it is red: the newest that failed."""
    if not story or story[0].state is RunState.SUCCESS:
        return None
    if not story[0].state.final:
        return story[0].id if failed else None
    ended = [run.id for run in story if run.state is RunState.ERROR]
    return ended[-1] if ended else story[0].id


def missed_at(schedule: Schedule, build: Run | None, now: datetime) -> datetime | None:
    """When the last daily build was due, if it has not begun and nothing was built since then."""
    if build is None or schedule.is_paused(now):
        return None
    daily_build = schedule.daily_build
    day = daily_build.day(now)
    if not daily_build.has(day):
        return None
    due = daily_build.due(day)
    going_on = not build.state.final  # another may wait behind it, also that of the day
    built = going_on or build.asked_at >= due or (build.morning or "") >= day.isoformat()
    if built or now - due <= ON_TIME_FOR or (schedule.at and schedule.at > due):
        return None
    if schedule.resumed_at and schedule.resumed_at > due:
        return None  # it was due during a pause
    return due.astimezone(daily_build.zone)


def days(
    builds: Sequence[Built], today: date, newest: Run | None, state: NowState
) -> tuple[Day, ...]:
    """The last DAYS local dates, the oldest first: of each its daily build, else the last full
    build that was asked for on it."""
    by_day: dict[date, list[Built]] = {}
    for build in builds:
        by_day.setdefault(build.day, []).append(build)
    found = []
    for back in range(DAYS - 1, -1, -1):
        day = today - timedelta(days=back)
        of_day = by_day.get(day, [])
        shown = next((build for build in of_day if build.daily), of_day[-1] if of_day else None)
        word = DayState.NONE if shown is None else day_state(shown, of_day)
        if shown and newest and shown.run == newest.id and state is NowState.REPAIRED:
            word = DayState.REPAIRED
        found.append(Day(day.isoformat(), word, shown.run if shown else None))
    return tuple(found)


def day_state(build: Built, of_day: Sequence[Built]) -> DayState:
    """How a full build of the day stands; a later one repairs it too."""
    if build.state is RunState.SUCCESS:
        return DayState.GREEN
    if build.state is RunState.QUEUED:
        return DayState.WAITING
    if not build.state.final:
        return DayState.RUNNING
    later = [other for other in of_day if other.asked_at > build.asked_at]
    if build.repaired or any(other.state is RunState.SUCCESS or other.repaired for other in later):
        return DayState.REPAIRED
    return DayState.CANCELLED if build.state is RunState.CANCELLED else DayState.RED


def offer(
    story: Sequence[Run],
    state: NowState,
    explanation: Explanation | None,
    live: tuple[str, str] | None,
    preparing: Preparing | None,
    now: datetime,
) -> RerunOffer | None:
    """What the button does now; None where nothing has failed.

    `live` is the SHA and the subject of the commit that runs use. A repair that is being made ready
    is waited for, unless all that failed is of the machine or the network.
    """
    reasons = {
        NowState.FAILED: WhyNot.ALLOWED,
        NowState.CANCELLED: WhyNot.ALLOWED,
        NowState.FAILING: WhyNot.STILL_RUNNING,
        NowState.RERUNNING: WhyNot.RERUNNING,
    }
    if state not in reasons or not story:
        return None
    why_not = reasons[state]
    causes = explanation.causes if explanation else ()
    transient = bool(causes) and all(
        cause.failure_class in (FailureClass.INFRASTRUCTURE, FailureClass.STOPPED)
        for cause in causes
    )
    waits = preparing is not None and (live is None or preparing.sha != live[0]) and not transient
    sha, subject = live or ("", "")
    ready_in = None
    if why_not is WhyNot.ALLOWED and waits and preparing:
        sha, subject = preparing.sha, preparing.subject
        why_not, ready_in = WhyNot.BEING_MADE_READY, preparing.left_seconds
    elif why_not is WhyNot.ALLOWED and live is None:
        why_not = WhyNot.NOTHING_READY
    elif why_not is WhyNot.ALLOWED and causes and explanation and not explanation.left:
        why_not = WhyNot.NOTHING_LEFT
    failed_on = [run.commit for run in story if run.state.final and run.state is RunState.ERROR]
    seconds = explanation.rerun_seconds if explanation else None
    whole_at = None
    if seconds is not None and explanation and explanation.whole_at:
        whole_at = now + timedelta(seconds=seconds + (ready_in or 0.0))
    return RerunOffer(
        run=story[0].id,
        commit=sha,
        subject=subject,
        allowed=why_not is WhyNot.ALLOWED,
        why_not=why_not,
        ready_in_seconds=ready_in,
        same_commit=bool(failed_on) and failed_on[-1] == sha,
        nodes=explanation.left if explanation else 0,
        seconds=None if seconds is None else round(seconds, 1),
        whole_at=whole_at,
    )


def _begun_at(build: Run | None) -> datetime | None:
    if build is None or build.state is RunState.QUEUED:
        return None
    return build.started_at or build.asked_at


def _repaired_by(story: Sequence[Run]) -> str:
    return next((run.id for run in story[1:] if run.state is RunState.SUCCESS), "")


def _ended_at(story: Sequence[Run], state: NowState) -> datetime | None:
    if not story:
        return None
    if state is NowState.REPAIRED:
        passed = [run.finished_at for run in story[1:] if run.state is RunState.SUCCESS]
        return passed[0] if passed else story[0].finished_at
    return story[0].finished_at


def _only_waits(state: NowState, preparing: Preparing | None) -> bool:
    """Whether nothing is wrong yet: the first commit is being made ready."""
    return state is NowState.NOTHING_READY and preparing is not None
