"""Who may run now: the rules of the line, without any database.

Writing is exclusive, reading is shared. A place collides with another when one writes a relation
that the other writes or reads. A waiting run gets its turn when it collides with nothing that runs
and nothing that asked before it; so it overtakes only runs with which it has nothing in common. All
its relations are taken at once or none is, so there is no order in which two runs could wait for
each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo

from mage_dbt.clock import Clock
from mage_dbt.request import Cause


@dataclass(frozen=True)
class Place:
    """One run's place in the line, from its plan until its end."""

    ticket: int
    """Grows: the smaller asked first."""
    run: str
    title: str
    cause: str
    caller: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    began_at: datetime | None = None
    """When it got its turn; None while it waits."""
    mine: bool = True
    """Whether the runner that looks carries it."""

    @property
    def starter(self) -> str:
        """Who started it: a person, or what starts runs by itself."""
        if self.cause in (Cause.SCHEDULE, Cause.START) or self.caller in ("", "unknown"):
            return self.cause
        return self.caller


@dataclass(frozen=True)
class Turns:
    """What a look at the line gives: whose turn it is, and why the others wait."""

    now: tuple[Place, ...]
    reasons: dict[str, str]
    """Run to sentence, of the looking runner's own."""


@dataclass
class _Claims:
    """The relations of some places, each with the first place that has it."""

    writers: dict[str, Place] = field(default_factory=dict)
    readers: dict[str, Place] = field(default_factory=dict)

    def add(self, place: Place) -> None:
        for name in place.writes:
            self.writers.setdefault(name, place)
        for name in place.reads:
            self.readers.setdefault(name, place)

    def against(self, place: Place) -> Iterable[tuple[str, Place]]:
        """Relations that `place` cannot have beside these, each with whoever has it."""
        for name in place.writes:
            if other := self.writers.get(name) or self.readers.get(name):
                yield name, other
        for name in place.reads:
            if other := self.writers.get(name):
                yield name, other


def take_turns(places: Sequence[Place], parallel_runs: int, zone: tzinfo) -> Turns:
    """Decides for the looking runner's own places; `zone` is that of the times in sentences."""
    running, earlier = _Claims(), _Claims()
    own = 0
    for place in places:
        if place.began_at:
            running.add(place)
            own += place.mine
    turns: list[Place] = []
    reasons: dict[str, str] = {}
    for place in sorted(places, key=lambda one: one.ticket):
        if place.began_at:
            continue
        reason = ""
        if place.mine:
            reason = next(_sentences(place, running, earlier, zone), "")
            if not reason and own >= parallel_runs:
                reason = _full(own)
            if not reason:
                turns.append(place)
                running.add(replace(place, began_at=datetime.now(UTC)))
                own += 1
                continue
            reasons[place.run] = reason
        earlier.add(place)
    return Turns(tuple(turns), reasons)


def all_reasons(
    wish: Place, places: Sequence[Place], parallel_runs: int, zone: tzinfo
) -> list[str]:
    """Whom `wish` would wait for if it came now: a sentence for each."""
    running, earlier = _Claims(), _Claims()
    for place in sorted(places, key=lambda one: one.ticket):
        (running if place.began_at else earlier).add(place)
    found = list(_sentences(wish, running, earlier, zone))
    own = sum(place.mine and place.began_at is not None for place in places)
    return found or ([_full(own)] if own >= parallel_runs else [])


def _sentences(place: Place, running: _Claims, earlier: _Claims, zone: tzinfo) -> Iterator[str]:
    """One for each place in the way, those that run first."""
    told: set[str] = set()
    for claims in (running, earlier):
        for name, other in claims.against(place):
            if other.run not in told:
                told.add(other.run)
                yield _sentence(name, other, zone)


def _sentence(relation: str, other: Place, zone: tzinfo) -> str:
    name = relation.replace('"', "").replace("`", "").rsplit(".", 1)[-1]
    if other.began_at is None:
        return f"waiting for {name}, asked for earlier by {other.title} ({other.starter})"
    since = Clock(zone, beside=datetime.now(UTC)).say_with_zone(other.began_at)
    return f"waiting for {name}, held by {other.title} since {since}, started by {other.starter}"


def _full(running: int) -> str:
    return f"waiting for one of {running} running runs to end (RUNNER_PARALLEL_RUNS)"
