"""What a worker told of its run, brought into the ledger, and the judgement on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mage_dbt.counts import counts
from mage_dbt.ledger import Ledger
from mage_dbt.lists import short_list
from mage_dbt.plan import Plan
from mage_dbt.run import PASSED, EventKind, RunState


class Record:
    """Brings a worker's events file into the ledger, line by line, each once."""

    def __init__(self, run: str, file: Path, ledger: Ledger) -> None:
        self._run = run
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
        """Whether dbt said how it ended."""
        return self._end is not None

    @property
    def cut_off(self) -> bool:
        """Whether SQL of the run may still be at work: dbt did not say how it ended, or could not
        end all of its sessions."""
        return self._end is None or bool(self._end.get("sessions_left"))

    def recall(self) -> None:
        """Learns what an earlier runner, perhaps of another machine, has brought to the ledger."""
        after = 0
        while events := self._ledger.events(self._run, after):
            for event in events:
                after = event.seq
                self._note(event.kind, event.data)

    def take(self) -> bool:
        """Takes every complete line there is; says whether there was any."""
        if not self._file.exists():
            return False
        with self._file.open("rb") as file:
            file.seek(self._offset)
            took = False
            while (text := file.readline()).endswith(b"\n"):
                self._take(_read(text))
                self._offset += len(text)
                took = True
        return took

    def _take(self, told: dict[str, Any]) -> None:
        line = self._line + 1
        at = datetime.fromtimestamp(told.pop("at"), UTC)
        kind = told.pop("kind")
        self._ledger.event(self._run, at, kind, told, line)
        self._line = line  # only now: a line the ledger did not take is taken again
        self._note(kind, told)

    def _note(self, kind: str, told: Mapping[str, Any]) -> None:
        if kind == EventKind.NODE_STARTED:
            self._running[told["node"]] = told["name"]
        elif kind == EventKind.NODE_FINISHED:
            self._running.pop(told["node"], None)
            self._statuses[told["node"]] = told["status"]
            self._names[told["node"]] = told["name"]
            if not counts((told.get("type", ""), told.get("materialized", ""))):
                self._uncounted.add(told["node"])
        elif kind == EventKind.END:
            self._end = told

    def fill(self, plan: Plan, reason: str) -> None:
        """Writes down what became of planned nodes that dbt said nothing, or nothing last, of.

        `reason` is why dbt is gone, or why it stopped, where dbt itself did not say it; every
        planned node has a result afterwards.
        """
        said = str((self._end or {}).get("message") or "").strip()
        why = reason or said or "dbt left it out."
        for node in plan.nodes:
            if node.node in self._statuses:
                continue
            cut_off = node.node in self._running
            told = {
                "node": node.node,
                "name": node.name,
                "type": node.type,
                "status": "error" if cut_off else "skipped",
                "message": why if cut_off else f"Not reached: {why}",
                "relation": node.relation,
                "materialized": node.materialized,
            }
            self._ledger.event(self._run, datetime.now(UTC), EventKind.NODE_FINISHED, told)
            self._note(EventKind.NODE_FINISHED, told)
        if self._end is None:
            self._end = {"success": False, "message": reason}

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


def _read(text: bytes) -> dict[str, Any]:
    """One line; one that a full disk cut short is told as that and does not stop the rest."""
    try:
        told: dict[str, Any] = json.loads(text)
        EventKind(told["kind"])
        return told
    except ValueError:
        now = datetime.now(UTC).timestamp()
        return {"at": now, "kind": "log", "level": "error", "text": "An event could not be read."}
