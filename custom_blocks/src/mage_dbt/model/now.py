"""How the daily build stands now: what the first page, `status` and the guides in Mage say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from mage_dbt.model import codec
from mage_dbt.model.codec import Moment
from mage_dbt.model.explanation import Explanation
from mage_dbt.model.request import Operation, Request
from mage_dbt.model.run import RunState


class NowState(StrEnum):
    """How the newest full build stands, with its reruns."""

    NOTHING_READY = "nothing ready"
    """No commit of dbt-metric is ready, so nothing can be built."""
    NEVER_BUILT = "never built"
    WAITING = "waiting"
    """It waits for its turn: nothing of it has begun, and no other full build runs."""
    RUNNING = "running"
    """The build goes on, and nothing has failed so far."""
    FAILING = "failing"
    """It goes on, and something has failed."""
    FAILED = "failed"
    """It is over, and something of it has not passed since."""
    RERUNNING = "rerunning"
    """A rerun of it goes on."""
    REPAIRED = "repaired"
    """It had failed; everything has passed since."""
    PASSED = "passed"
    CANCELLED = "cancelled"
    """Somebody ended it before its end."""
    MISSED = "missed"
    """The last daily build that was due has not begun."""


class Colour(StrEnum):
    """What one look tells."""

    RED = "red"
    AMBER = "amber"
    GREEN = "green"
    GREY = "grey"


class DayState(StrEnum):
    """How the full build of one day stands."""

    GREEN = "green"
    RED = "red"
    REPAIRED = "repaired"
    """Red, then put right."""
    WAITING = "waiting"
    """It waits for its turn: nothing of it has begun."""
    RUNNING = "running"
    CANCELLED = "cancelled"
    NONE = "none"
    """Not built."""


class MageState(StrEnum):
    """Whether Mage answers."""

    ANSWERS = "answers"
    STARTING = "starting"
    """It has not answered yet, and the runner has just begun."""
    AWAY = "away"


class WhyNot(StrEnum):
    """Why a rerun makes no sense now."""

    ALLOWED = ""
    """It does."""
    BEING_MADE_READY = "being made ready"
    """The commit that it would use."""
    NOTHING_READY = "nothing ready"
    NOTHING_LEFT = "nothing left"
    RERUNNING = "rerunning"
    STILL_RUNNING = "still running"


@dataclass(frozen=True)
class Day:
    """One day on the calendar strip."""

    __pydantic_config__ = codec.DESCRIBED

    day: str
    """The local date, ISO 8601."""
    state: Annotated[DayState, codec.AnyWord(DayState)]
    run: str | None
    """The daily build of that date, or the last full build that began on it."""


@dataclass(frozen=True)
class RerunOffer:
    """What a rerun of what failed would be now, on the commit that it would use."""

    __pydantic_config__ = codec.DESCRIBED

    run: str
    """The run whose failures it repeats."""
    commit: str
    subject: str
    allowed: bool
    """Whether it makes sense to press the button now."""
    why_not: Annotated[WhyNot, codec.AnyWord(WhyNot)]
    """Empty when allowed."""
    ready_in_seconds: float | None
    """For `being made ready`: about how long that takes yet."""
    same_commit: bool
    """Whether the commit is the one that failed last: then code fails again."""
    nodes: int
    """How many nodes it would run, as dbt counts them."""
    seconds: float | None
    """How long it takes; None where that is not known."""
    whole_at: Moment | None
    """When everything would be whole then; None where it fails again."""


@dataclass(frozen=True)
class Progress:
    """A run that waits or goes on."""

    __pydantic_config__ = codec.DESCRIBED

    run: str
    title: str
    operation: Annotated[Operation, codec.AnyWord(Operation)]
    request: Request
    morning: str | None
    """The local date whose daily build it is."""
    follows: str | None
    """The run whose failures it repeats."""
    state: Annotated[RunState, codec.AnyWord(RunState)]
    caller: str
    why: str
    since: Moment
    detail: str
    """Whom it waits for."""
    running: tuple[str, ...]
    """Names of the nodes that are being built."""
    done: int
    planned: int
    failed: int
    holds: bool
    """Whether it waits for somebody's decision to swap."""

    @property
    def waits(self) -> bool:
        """Whether it waits for its turn."""
        return self.state is RunState.QUEUED


@dataclass(frozen=True)
class Preparing:
    """A commit that is being made ready."""

    __pydantic_config__ = codec.DESCRIBED

    sha: str
    subject: str
    author: str
    since: Moment
    left_seconds: float | None
    """About how long it takes yet, by the last one; None where nothing is known."""


@dataclass(frozen=True)
class Now:
    """How the daily build stands."""

    __pydantic_config__ = codec.DESCRIBED

    at: Moment
    state: Annotated[NowState, codec.AnyWord(NowState)]
    colour: Annotated[Colour, codec.AnyWord(Colour)]
    build: str | None
    """The newest full build; while one runs, that one, though others wait behind it."""
    day: str | None
    """The local date whose daily build it is; None when somebody asked for it."""
    cause: str
    """What the build came from, such as `schedule` or `start`; empty without a build."""
    caller: str
    """Who asked for it."""
    detail: str
    """The reason of its state, in the ledger's words: of `waiting`, for whom."""
    begun_at: Moment | None
    """None while it waits."""
    ended_at: Moment | None
    """When it ended, or its last rerun when that repaired it."""
    commit: str
    commit_subject: str
    nodes: int
    passed: int
    gone: int
    """How many have not passed, and are no longer in the live commit."""
    new: tuple[str, ...]
    """Names of models, seeds and snapshots of the live commit that no run has come to yet; empty
    while the build goes on."""
    seconds: float | None
    """How long the build itself took."""
    reruns: int
    """How many reruns of it there are."""
    rerunning: str
    """The rerun of it that goes on; empty without one."""
    repaired_by: str
    """The run that repaired it; empty otherwise."""
    explanation: Explanation | None
    """Of the newest failed run of its story; None when nothing is red."""
    rerun: RerunOffer | None
    preparing: Preparing | None
    missed_at: Moment | None
    """When the daily build was due that has not begun; None when none was missed."""
    over_by: Moment | None
    """By when the daily build of the day should be over; None for a build that somebody asked for.
    """
    next_build: Moment | None
    """None while builds are paused until somebody ends the pause."""
    next_build_paused: bool
    usual_seconds: float | None
    """The median time of the last full builds that passed."""
    days: tuple[Day, ...]
    """The last 30 local dates, the oldest first."""
    active: tuple[Progress, ...]
    mage_answers: bool
    """Whether Mage has answered the last look; the page and the API work without it."""
    mage: Annotated[MageState, codec.AnyWord(MageState)] | None = None
    """The same with `starting`: it has not answered yet, and the runner has just begun. None before
    the first look at it, and from an older runner."""

    def progress_of(self, run: str) -> Progress | None:
        """How far a run is that waits or goes on; None for any other."""
        return next((active for active in self.active if active.run == run), None)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Now:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)
