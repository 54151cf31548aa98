"""What a refresh or an undo records once it has swapped, kept before that in the run's folder.

A process that ends as its swap is committed takes its results with it: the tests passed, the tables
stand there, and the run would be an error for ever. Whoever finds it swapped adds what was kept
(`dbt/left.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mage_dbt.base.files import replace_file
from mage_dbt.base.redaction import scrub_message
from mage_dbt.model.refresh import RefreshStep, Step
from mage_dbt.model.run import EventKind
from mage_dbt.workers.job import EVENTS_FILE

FILE = "after-swap.jsonl"

ADDED = (
    "The process of the run ended as it had swapped. What it had found before that is recorded now."
)


def line(kind: EventKind, data: Mapping[str, Any]) -> str:
    """One event as it stands in a file, without secrets."""
    return json.dumps(scrub_message({"at": time.time(), "kind": kind, **data})) + "\n"


def keep(folder: Path, results: Sequence[Mapping[str, Any]], end: Mapping[str, Any]) -> None:
    """Before a swap: the results of the nodes, and the run's end, as they are once it has happened.

    Where it does not happen nobody reads them.
    """
    lines = [*(line(EventKind.NODE_FINISHED, result) for result in results)]
    replace_file(folder / FILE, "".join([*lines, line(EventKind.END, end)]))


def add(folder: Path, swapped: RefreshStep) -> None:
    """After a swap whose process is gone: adds to the run's events what is missing of them."""
    kept, events = folder / FILE, folder / EVENTS_FILE
    if not (kept.exists() and events.exists()):
        return
    text = events.read_text(errors="replace")
    there = [*_events(text)]
    if any(event["kind"] == EventKind.END for event in there):
        return
    finished = {event["node"] for event in there if event["kind"] == EventKind.NODE_FINISHED}
    missing = [event for event in _events(kept.read_text()) if event.get("node") not in finished]
    with events.open("a") as file:
        if not text.endswith("\n"):  # it was killed in the middle of a line
            file.write("\n")
        if not any(event.get("step") == Step.SWAPPED for event in there):
            file.write(line(EventKind.REFRESH, swapped.of_event()))
        file.write(line(EventKind.LOG, {"level": "warn", "text": ADDED}))
        file.writelines(json.dumps(event) + "\n" for event in missing)


def _events(text: str) -> Iterator[dict[str, Any]]:
    """Those that can be read."""
    for part in text.splitlines():
        try:
            event = json.loads(part)
        except ValueError:
            continue
        if isinstance(event, dict) and "kind" in event:
            yield event
