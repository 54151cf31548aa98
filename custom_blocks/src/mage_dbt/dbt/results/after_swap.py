"""What a refresh or an undo records once it has swapped, kept before that in the run's folder.

A process that ends as its swap is committed takes its results with it: the tests passed, the tables
stand there, and the run would be an error for ever. A process that loses its connection then does
not know what they are. Whoever finds out (`dbt/left.py`) adds what was kept for this case.
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

UNLESS_SWAPPED = "unless-swapped.jsonl"
"""What counts where the warehouse shows no swap, of a process that could not ask it."""

ADDED = (
    "The run's process ended right after the swap. Its results, kept before the swap, are recorded "
    "now."
)


def line(kind: EventKind, data: Mapping[str, Any]) -> str:
    """One event as it stands in a file, without secrets."""
    return json.dumps(scrub_message({"at": time.time(), "kind": kind, **data})) + "\n"


def keep(folder: Path, results: Sequence[Mapping[str, Any]], end: Mapping[str, Any]) -> None:
    """Before a swap: the results of the nodes, and the run's end, as they are once it has happened.

    Where it does not happen nobody reads them.
    """
    lines = [line(EventKind.NODE_FINISHED, result) for result in results]
    replace_file(folder / FILE, "".join([*lines, line(EventKind.END, end)]))


def add(folder: Path, swapped: RefreshStep) -> None:
    """After a swap whose process is gone: adds to the run's events what is missing of them."""
    step = {"kind": EventKind.REFRESH, **swapped.of_event()}
    _add(folder, FILE, [step, {"kind": EventKind.LOG, "level": "warn", "text": ADDED}])


def add_unless_swapped(folder: Path) -> None:
    """After a swap that was tried and has not happened: adds what the process has kept for that."""
    _add(folder, UNLESS_SWAPPED)


def _add(folder: Path, name: str, first: Sequence[Mapping[str, Any]] = ()) -> None:
    """Adds `first`, and what was kept under this name, as far as it is missing, to a run that has
    no end."""
    kept, events = folder / name, folder / EVENTS_FILE
    if not (kept.exists() and events.exists()):
        return
    text = events.read_text(errors="replace")
    there, more = [*_events(text)], [*_events(kept.read_text(errors="replace"))]
    if _have_end(there) or not _have_end(more):  # one that was killed has not kept all of them
        return
    finished = {event["node"] for event in there if event["kind"] == EventKind.NODE_FINISHED}
    with events.open("a") as file:
        if not text.endswith("\n"):  # it was killed in the middle of a line
            file.write("\n")
        swapped = any(event.get("step") == Step.SWAPPED for event in there)
        for event in first:
            if not (swapped and event.get("step") == Step.SWAPPED):
                file.write(line(event["kind"], event))
        file.writelines(
            json.dumps(event) + "\n" for event in more if event.get("node") not in finished
        )


def _have_end(events: Sequence[Mapping[str, Any]]) -> bool:
    return any(event["kind"] == EventKind.END for event in events)


def _events(text: str) -> Iterator[dict[str, Any]]:
    """Those that can be read."""
    for part in text.splitlines():
        try:
            event = json.loads(part)
        except ValueError:
            continue
        if isinstance(event, dict) and "kind" in event:
            yield event
