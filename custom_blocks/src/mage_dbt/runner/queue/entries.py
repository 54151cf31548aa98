"""Whose turn it is: the rules of the queue, without a database.

Writing is exclusive, reading is shared. Two entries collide when one writes a relation that the
other writes or reads. A waiting run gets its turn when its entry collides with no running one and
no earlier one; so it overtakes only runs that share no relation with it. A run takes all its
relations at once or none, so no two runs can wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo

from mage_dbt.base.clock import Clock
from mage_dbt.model.request import Cause


@dataclass(frozen=True)
class Entry:
    """One run's entry in the queue, from its plan until its end."""

    position: int
    """Order of arrival: the smaller came first."""
    run: str
    title: str
    cause: str
    caller: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    began_at: datetime | None = None
    """When the run got its turn; None while it waits."""
    mine: bool = True
    """Whether the runner that reads the queue owns the run."""
    holds: bool = False
    """Whether the run waits for somebody's decision to swap its refresh."""

    @property
    def starter(self) -> str:
        """Who started the run: a person, or what starts runs by itself."""
        if self.cause in (Cause.SCHEDULE, Cause.START) or self.caller in ("", "unknown"):
            return self.cause
        return self.caller


@dataclass(frozen=True)
class Turns:
    """Whose turn it is, and why the others wait."""

    now: tuple[Entry, ...]
    reasons: dict[str, str]
    """Sentence by run, for waiting runs of the runner that decides."""


@dataclass
class _Relations:
    """The relations of some entries, each with the first entry that has it."""

    writers: dict[str, Entry] = field(default_factory=dict)
    readers: dict[str, Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        for name in entry.writes:
            self.writers.setdefault(name, entry)
        for name in entry.reads:
            self.readers.setdefault(name, entry)

    def collisions(self, entry: Entry) -> Iterable[tuple[str, Entry]]:
        """Relations that `entry` cannot have beside these, each with the entry that has it."""
        for name in entry.writes:
            if other := self.writers.get(name) or self.readers.get(name):
                yield name, other
        for name in entry.reads:
            if other := self.writers.get(name):
                yield name, other


def take_turns(entries: Sequence[Entry], parallel_runs: int, zone: tzinfo) -> Turns:
    """Decides about the entries that are `mine`; times in sentences are in `zone`."""
    running, earlier = _Relations(), _Relations()
    mine_running = 0
    for entry in entries:
        if entry.began_at:
            running.add(entry)
            mine_running += entry.mine
    turns: list[Entry] = []
    reasons: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: entry.position):
        if entry.began_at:
            continue
        if entry.mine:
            reason = next(_sentences(entry, running, earlier, zone), "")
            if not reason and mine_running >= parallel_runs:
                reason = _full(mine_running)
            if not reason:
                turns.append(entry)
                running.add(replace(entry, began_at=datetime.now(UTC)))
                mine_running += 1
                continue
            reasons[entry.run] = reason
        earlier.add(entry)
    return Turns(tuple(turns), reasons)


def all_reasons(
    wanted: Entry, entries: Sequence[Entry], parallel_runs: int, zone: tzinfo
) -> list[str]:
    """For whom `wanted` would wait if it came now: a sentence for each."""
    running, earlier = _Relations(), _Relations()
    for entry in sorted(entries, key=lambda entry: entry.position):
        (running if entry.began_at else earlier).add(entry)
    sentences = list(_sentences(wanted, running, earlier, zone))
    mine_running = sum(entry.mine and entry.began_at is not None for entry in entries)
    return sentences or ([_full(mine_running)] if mine_running >= parallel_runs else [])


def _sentences(
    entry: Entry, running: _Relations, earlier: _Relations, zone: tzinfo
) -> Iterator[str]:
    """A sentence for each entry in the way; running ones first."""
    named: set[str] = set()
    for relations in (running, earlier):
        for name, other in relations.collisions(entry):
            if other.run not in named:
                named.add(other.run)
                yield _sentence(name, other, zone)


def _sentence(relation: str, other: Entry, zone: tzinfo) -> str:
    name = relation.replace('"', "").replace("`", "").rsplit(".", 1)[-1]
    if other.began_at is None:
        return f"waiting for {name}, asked for earlier by {other.title} ({other.starter})"
    since = Clock(zone, beside=datetime.now(UTC)).say_with_zone(other.began_at)
    sentence = (
        f"waiting for {name}, held by {other.title} since {since}, started by {other.starter}"
    )
    return f"{sentence}; that run waits for a decision to swap" if other.holds else sentence


def _full(running: int) -> str:
    return f"waiting for one of {running} running runs to end (RUNNER_PARALLEL_RUNS)"
