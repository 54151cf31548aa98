"""A run's events as server-sent events, from any of them on, until its final state."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response, StreamingResponse

from mage_dbt.errors import LedgerUnreachable, Malformed, NotFound, RequestError
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.event_feed import EventFeed
from mage_dbt.model.problems import declared
from mage_dbt.model.run import EventKind
from mage_dbt.server.runs import RUNS, RunId
from mage_dbt.server.strict_route import StrictRoute

MEDIA_TYPE = "text/event-stream"

SCHEMA = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$", "description": "To resume after."},
        "event": {
            "enum": [str(kind) for kind in EventKind],
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

POLL_SECONDS = 2.0
"""How long a stream waits for a notification before it looks by itself."""

PAUSE_SECONDS = 0.05
"""Between two looks at a run in which much happens: its events are sent together."""

KEEP_ALIVE_SECONDS = 10.0
"""A stream without events sends a comment this often, so that both ends know it lives."""

RECONNECT_MILLISECONDS = 1000

LARGEST_SEQUENCE = 10**18 - 1


def routes(ledger: Ledger, feed: EventFeed) -> APIRouter:
    """The endpoint that streams the events of a run."""
    router = APIRouter(prefix=RUNS, tags=["runs"], route_class=StrictRoute)

    @router.get(
        "/{run}/events",
        operation_id="follow_run",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Server-sent events until the run's final state. Each has the "
                "number to resume after as its `id`, its kind as `event`, and JSON as `data`.",
                "content": {MEDIA_TYPE: {"schema": SCHEMA}},
            },
            204: {"description": "The run is over and there is nothing after that event."},
            **declared((Malformed, NotFound, RequestError, LedgerUnreachable)),
        },
    )
    async def follow_run(
        run: RunId,
        after: Annotated[
            int,
            Query(ge=0, le=LARGEST_SEQUENCE, description="The last event that was seen."),
        ] = 0,
        last_event_id: Annotated[
            str | None,
            Header(
                alias="Last-Event-ID",
                description="The same, as an EventSource sends it; wins over `after`.",
                json_schema_extra={"pattern": "^[0-9]{0,18}$"},
            ),
        ] = None,
    ) -> Response:
        """What happens in a run, as it happens. Resumable without a loss or a repetition."""
        after = resume_after(last_event_id, after)
        now = await asyncio.to_thread(ledger.run, run)
        if now.state.final and not await asyncio.to_thread(ledger.events, run, after, 1):
            return Response(status_code=204)
        return StreamingResponse(
            stream(ledger, feed, run, after),
            media_type=MEDIA_TYPE,
            headers={"Cache-Control": "no-store"},
        )

    return router


def resume_after(header: str | None, after: int) -> int:
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


async def stream(ledger: Ledger, feed: EventFeed, run: str, after: int) -> AsyncIterator[str]:
    """The events after sequence number `after`. It goes on while PostgreSQL is away."""
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n"
    sent = time.monotonic()
    with feed.waiter(run) as waiter:
        while True:
            try:
                found = await asyncio.to_thread(ledger.events, run, after)
            except LedgerUnreachable:
                yield ": the ledger does not answer\n\n"
                found = []
            for event in found:
                after = event.seq
                data = json.dumps(event.to_json())
                yield f"id: {event.seq}\nevent: {event.kind}\ndata: {data}\n\n"
                if event.last:
                    return
            if found:
                sent = time.monotonic()
            elif time.monotonic() - sent >= KEEP_ALIVE_SECONDS:
                sent = time.monotonic()
                yield ": nothing new\n\n"
            if found:
                await asyncio.sleep(PAUSE_SECONDS)
            await waiter.wait(POLL_SECONDS)
