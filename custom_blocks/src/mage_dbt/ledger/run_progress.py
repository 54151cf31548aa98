"""How far a run that goes on is, from its events alone: each is read once."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from mage_dbt.ledger.ledger import Ledger
from mage_dbt.model import counts
from mage_dbt.model.refresh import Step
from mage_dbt.model.run import PASSED, RunState

LAST_DONE = 5
"""Finished nodes that are named."""

MOST_FAILED = 10
"""Failed nodes that are named."""

LONGEST_MESSAGE = 300

MOST_WATCHED = 50
"""Runs whose progress is kept; that of another is read from its first event again."""

EVENTS = """
select
    seq, at, kind, data ->> 'node' as node, data ->> 'name' as name, data ->> 'type' as type,
    data ->> 'materialized' as materialized, data ->> 'status' as status,
    (data ->> 'seconds')::float8 as seconds, left(data ->> 'message', %(longest)s) as message,
    data ->> 'state' as state, data ->> 'detail' as detail, data ->> 'text' as text,
    data ->> 'step' as step,
    case when kind = 'plan'
        then coalesce((data -> 'counted')::int, jsonb_array_length(data -> 'names')) end as counted
from ledger.event
where run = %(run)s and seq > %(after)s
    and kind in ('state', 'plan', 'node_started', 'node_finished', 'refresh')
order by seq
"""


@dataclass(frozen=True)
class AtWork:
    """A node that is being built."""

    node: str
    name: str
    since: datetime


@dataclass(frozen=True)
class Done:
    """A node that has ended."""

    node: str
    name: str
    status: str
    seconds: float
    message: str
    """The beginning of it, for a failure."""


@dataclass(frozen=True)
class RunProgress:
    """How far a run is."""

    state: RunState
    since: datetime
    """When it came into that state."""
    detail: str
    """The run it waits for, or what failed."""
    planned: int
    done: int
    """Nodes with a result, the skipped ones too, as dbt counts them."""
    failed: int
    skipped: int
    at_work: tuple[AtWork, ...]
    """The longest at work first."""
    last: tuple[Done, ...]
    """What ended last, the newest first."""
    failures: tuple[Done, ...]
    """The first failures."""
    step: str
    """The last step of a refresh, in a sentence; empty without one."""
    holds: bool
    """Whether it waits for somebody's decision to swap."""


@dataclass
class _Reader:
    """What the events of one run have said so far."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    after: int = 0
    state: RunState = RunState.QUEUED
    since: datetime | None = None
    detail: str = ""
    planned: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    at_work: dict[str, AtWork] = field(default_factory=dict)
    last: deque[Done] = field(default_factory=lambda: deque(maxlen=LAST_DONE))
    failures: list[Done] = field(default_factory=list)
    step: str = ""
    holds: bool = False


class RunProgresses:
    """The progress of runs that somebody watches. Any number of readers share what was read."""

    def __init__(self, ledger: Ledger) -> None:
        self._connection = ledger.connection  # the same pool and the same errors
        self._guard = threading.Lock()
        self._readers: dict[str, _Reader] = {}

    def now(self, run: str) -> RunProgress | None:
        """How far the run is; None for a run without events. Raises LedgerUnreachable."""
        with self._guard:
            reader = self._readers.pop(run, None) or _Reader()
            self._readers[run] = reader  # the last one used stands last
            if len(self._readers) > MOST_WATCHED:
                del self._readers[next(iter(self._readers))]
        with reader.guard:
            self._read(run, reader)
            found = _shown(reader)
        if found is None or found.state.final:
            with self._guard:
                self._readers.pop(run, None)
        return found

    def _read(self, run: str, reader: _Reader) -> None:
        values = {"run": run, "after": reader.after, "longest": LONGEST_MESSAGE}
        with self._connection() as connection:
            rows = connection.execute(EVENTS.encode(), values).fetchall()
        for row in rows:
            reader.after = row["seq"]
            kind = row["kind"]
            if kind == "state":
                reader.state, reader.since = RunState(row["state"]), row["at"]
                reader.detail = row["detail"] or ""
            elif kind == "plan":
                reader.planned = row["counted"] or 0
            elif kind == "refresh":
                reader.step = row["text"] or ""
                reader.holds = row["step"] == Step.HOLDS
            elif kind == "node_started":
                reader.at_work[row["node"]] = AtWork(row["node"], row["name"], row["at"])
            else:
                reader.at_work.pop(row["node"], None)
                done = Done(
                    row["node"], row["name"], row["status"], row["seconds"] or 0.0, row["message"]
                )
                _count(reader, done, (row["type"], row["materialized"] or ""))


def _count(reader: _Reader, done: Done, kind: counts.Kind) -> None:
    if kind[0] != "operation":  # a hook is not planned
        reader.done += counts.counts(kind)
    if done.status == "skipped":
        reader.skipped += counts.counts(kind)
        return
    reader.last.appendleft(done)
    if done.status not in PASSED:
        reader.failed += 1
        if len(reader.failures) < MOST_FAILED:
            reader.failures.append(done)


def _shown(reader: _Reader) -> RunProgress | None:
    if reader.since is None:
        return None
    return RunProgress(
        state=reader.state,
        since=reader.since,
        detail=reader.detail,
        planned=reader.planned,
        done=reader.done,
        failed=reader.failed,
        skipped=reader.skipped,
        at_work=tuple(sorted(reader.at_work.values(), key=lambda node: node.since)),
        last=tuple(reader.last),
        failures=tuple(reader.failures),
        step=reader.step,
        holds=reader.holds and not reader.state.final,
    )
