"""Brings the events of a run's worker into the ledger, and judges the run by them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from mage_dbt.base.lists import short_list
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import EVENTS_AT_ONCE, NewEvent
from mage_dbt.model.counts import counts
from mage_dbt.model.plan import Plan, PlannedNode
from mage_dbt.model.run import INTERRUPTED, NOT_REACHED, PASSED, EventKind, RunState

CUT_OFF = ("08", "57P01", "57014")
"""Beginnings of SQLSTATEs of sessions that were ended, and of statements that were cancelled."""


class Record:
    """Brings a worker's events file into the ledger, each line once."""

    def __init__(
        self, run: str, file: Path, ledger: Ledger, stopped: Callable[[], str] = lambda: ""
    ) -> None:
        """`stopped` says who or what has stopped dbt; empty while nothing has."""
        self._run = run
        self._stopped = stopped
        self._file = file
        self._ledger = ledger
        self._line = 0
        self._offset = 0
        self._statuses: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._uncounted: set[str] = set()
        self._running: dict[str, str] = {}
        self._end: Mapping[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether dbt reported its end."""
        return self._end is not None

    @property
    def cut_off(self) -> bool:
        """Whether SQL of the run may still be at work: dbt did not report its end, or could not end
        all of its sessions."""
        return self._end is None or bool(self._end.get("sessions_left"))

    def recall(self) -> None:
        """Reads the events that an earlier runner, perhaps on another machine, has brought in."""
        after = 0
        while events := self._ledger.events(self._run, after):
            for event in events:
                after = event.seq
                self._note(event.kind, event.data)

    def take(self) -> bool:
        """Takes every complete line of the file; says whether there was any."""
        if not self._file.exists():
            return False
        took = False
        with self._file.open("rb") as file:
            while True:
                file.seek(self._offset)
                lines = list(
                    takewhile(lambda text: text.endswith(b"\n"), islice(file, EVENTS_AT_ONCE))
                )
                if not lines:
                    return took
                self._take(lines)
                took = True

    def _take(self, lines: Sequence[bytes]) -> None:
        events = [_read(text, line) for line, text in enumerate(lines, self._line + 1)]
        if stopped := self._stopped():
            events = [_cut_off(event, stopped) for event in events]
        self._ledger.add_events(self._run, events)
        self._line += len(lines)  # only now: what the ledger did not take is taken again
        self._offset += sum(map(len, lines))
        for event in events:
            self._note(event.kind, event.data)

    def _note(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        if kind is EventKind.NODE_STARTED:
            self._running[data["node"]] = data["name"]
        elif kind is EventKind.NODE_FINISHED:
            self._running.pop(data["node"], None)
            self._statuses[data["node"]] = data["status"]
            self._names[data["node"]] = data["name"]
            if not counts((data.get("type", ""), data.get("materialized", ""))):
                self._uncounted.add(data["node"])
        elif kind is EventKind.END:
            self._end = data

    def fill(self, plan: Plan, reason: str) -> None:
        """Adds a result for each planned node of which dbt reported none.

        `reason` is why dbt is gone, or why it stopped, where dbt itself did not report it.
        """
        message = str((self._end or {}).get("message") or "").strip()
        why = reason or message or "dbt left it out."
        missing = [
            (place, node)
            for place, node in enumerate(plan.nodes, 1)
            if node.node not in self._statuses
        ]
        for begin in range(0, len(missing), EVENTS_AT_ONCE):
            events = [
                self._missing(node, why, -place)
                for place, node in missing[begin : begin + EVENTS_AT_ONCE]
            ]
            self._ledger.add_events(self._run, events)
            for event in events:
                self._note(event.kind, event.data)
        if self._end is None:
            self._end = {"success": False, "message": reason}

    def _missing(self, node: PlannedNode, why: str, line: int) -> NewEvent:
        """The result of a node of which dbt reported none.

        It stands in no file, so its `line` is below that of any that does. With it the ledger takes
        the result once, also when the answer to the first time was lost.
        """
        cut_off = node.node in self._running
        result = {
            "node": node.node,
            "name": node.name,
            "type": node.type,
            "status": "error" if cut_off else "skipped",
            "message": why if cut_off else NOT_REACHED + why,
            "relation": node.relation,
            "materialized": node.materialized,
        }
        return NewEvent(datetime.now(UTC), EventKind.NODE_FINISHED, result, line)

    def verdict(self, plan: Plan) -> tuple[RunState, str]:
        """Success only when dbt says so and every planned node ran and passed. After `fill`."""
        assert self._end is not None
        end = self._end
        bad = {node: status for node, status in self._statuses.items() if status not in PASSED}
        if end["success"] and not bad:
            return RunState.SUCCESS, ""
        parts = []
        if bad:
            failed = [self._names[node] for node, status in bad.items() if status != "skipped"]
            counted = self._statuses.keys() - self._uncounted
            parts.append(
                f"{len(counted & bad.keys())} of {max(plan.counted, len(counted))} nodes did not "
                f"pass{f': {short_list(failed)}' if failed else ''}."
            )
        if end["message"]:
            parts.append(str(end["message"]))
        return RunState.ERROR, " ".join(parts) or "dbt says the run failed, and not why."


def _cut_off(event: NewEvent, stopped: str) -> NewEvent:
    """The event in the words of what has stopped dbt, where it is only the consequence.

    dbt ends its sessions, and reports their errors as the nodes' own.
    """
    data = event.data
    if event.kind is not EventKind.NODE_FINISHED or data["status"] in PASSED:
        return event
    message = str(data.get("message") or "")
    if message.startswith(INTERRUPTED):
        return replace(event, data={**data, "message": NOT_REACHED + stopped})
    if str(data.get("sqlstate") or "").startswith(CUT_OFF):
        return replace(event, data={**data, "message": f"{stopped}\n\n{message}", "sqlstate": ""})
    return event


def _read(text: bytes, line: int) -> NewEvent:
    """One line. A line that a full disk cut short becomes a log event and stops nothing."""
    try:
        data: dict[str, Any] = json.loads(text)
        kind, at = EventKind(data.pop("kind")), data.pop("at")
    except ValueError:
        kind, at = EventKind.LOG, datetime.now(UTC).timestamp()
        data = {"level": "error", "text": "An event could not be read."}
    return NewEvent(datetime.fromtimestamp(at, UTC), kind, data, line)
