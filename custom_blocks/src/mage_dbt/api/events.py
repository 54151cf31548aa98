"""A run's events as server-sent events, from any of them on, until its final state."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

from mage_dbt.errors import LedgerUnreachable, Malformed
from mage_dbt.ledger import Ledger
from mage_dbt.run import Event, EventKind, RunState

MEDIA_TYPE = "text/event-stream"

SCHEMA = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$", "description": "To resume after."},
        "event": {
            "enum": [str(one) for one in EventKind],
            "description": "What kind of event it is.",
        },
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "JSON with `seq`, `at`, `kind` and `data`.",
        },
    },
}
"""One event, for OpenAPI."""

LOOK_SECONDS = 0.2

KEEP_ALIVE_SECONDS = 10.0
"""A stream that has nothing to say sends a comment this often, so that both ends know it lives."""

RECONNECT_MILLISECONDS = 1000


def last_event_id(header: str | None, after: int) -> int:
    """The sequence number to go on after: what a reconnecting client last saw wins.

    Raises Malformed.
    """
    if header is None or header == "":
        return after
    if not re.fullmatch(r"[0-9]{1,18}", header):
        raise Malformed(
            f"`Last-Event-ID: {header[:50]}` is not the id of an event.", "It is a whole number."
        )
    return int(header)


async def stream(ledger: Ledger, run: str, after: int) -> AsyncIterator[str]:
    """The events after sequence number `after`; while PostgreSQL is away it says so and waits."""
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n"
    quiet = 0.0
    while True:
        try:
            found = await asyncio.to_thread(ledger.events, run, after)
        except LedgerUnreachable:
            yield ": the ledger does not answer\n\n"
            found = []
        for event in found:
            after = event.seq
            yield f"id: {event.seq}\nevent: {event.kind}\ndata: {json.dumps(event.to_json())}\n\n"
            if _is_last(event):
                return
        quiet = 0.0 if found else quiet + LOOK_SECONDS
        if quiet >= KEEP_ALIVE_SECONDS:
            quiet = 0.0
            yield ": nothing new\n\n"
        await asyncio.sleep(LOOK_SECONDS)


def _is_last(event: Event) -> bool:
    return event.kind == EventKind.STATE and RunState(event.data["state"]).final
