"""Live parts of pages: HTML as server-sent events, sent whenever it is another than before."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any, cast

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request as HttpRequest

from mage_dbt.errors import WorkspaceError
from mage_dbt.ledger.event_feed import EventFeed
from mage_dbt.server.pages import decisions, run_live
from mage_dbt.server.pages.site import Site

LOOK_SECONDS = 1.0
"""Between two looks at what is not an event of a run."""

PAUSE_SECONDS = 0.4
"""Between two looks at a run in which much happens."""

WAIT_SECONDS = 5.0
"""How long a stream waits for a notification before it looks by itself."""

RECONNECT_MILLISECONDS = 1000

LONGEST_SECONDS = 3600.0
"""After this long a stream ends, and the browser begins another: the login is asked again."""


Found = Mapping[str, Any] | None

Values = Callable[..., Found] | Callable[..., Awaitable[Found]]


def routes(site: Site, feed: EventFeed) -> APIRouter:
    """The endpoints of live parts. `feed` wakes those that follow a run."""
    router = APIRouter()
    add(router, site, "/live/strip", "strip.html", lambda http: {})

    def progress(http: HttpRequest, run: str) -> Mapping[str, Any] | None:
        return run_live.values(site, run)

    def refresh(http: HttpRequest, run: str) -> Mapping[str, Any]:
        return decisions.refresh_values(site, run)

    add(router, site, "/live/runs/{run}", "run_live.html", progress, feed)
    add(router, site, "/live/runs/{run}/refresh", "refresh_found.html", refresh, feed)
    return router


def add(
    router: APIRouter,
    site: Site,
    path: str,
    template: str,
    values: Values,
    feed: EventFeed | None = None,
) -> None:
    """Adds the live part at `path`. `values` is a function of the call and of the path's
    parameters; one that waits for long is a coroutine's. The stream ends after values with a true
    `over`, and with None.

    With `feed` the path has a `{run}`, and the part is made when that run has new events.
    """

    async def live(http: HttpRequest) -> AsyncIterator[ServerSentEvent]:
        async for event in stream(site, http, template, values, feed):
            yield event

    router.add_api_route(path, live, include_in_schema=False, response_class=EventSourceResponse)


async def stream(
    site: Site,
    http: HttpRequest,
    template: str,
    values: Values,
    feed: EventFeed | None = None,
) -> AsyncIterator[ServerSentEvent]:
    """The part as often as it changes. What cannot be made now is made at the next look."""
    shown, begun = "", time.monotonic()
    yield ServerSentEvent(retry=RECONNECT_MILLISECONDS)
    with feed.waiter(http.path_params["run"]) if feed else nullcontext() as waiter:
        while time.monotonic() - begun < LONGEST_SECONDS:
            over = False
            try:
                found = await _found(values, http)
                over = found is None or bool(found.get("over"))
                part = (
                    shown
                    if found is None
                    else await asyncio.to_thread(site.fragment, http, template, found)
                )
            except WorkspaceError:
                part = shown
            if part != shown:
                shown = part
                yield ServerSentEvent(raw_data=part)
            if over:
                yield ServerSentEvent(event="over", raw_data="")
                return
            await asyncio.sleep(LOOK_SECONDS if waiter is None else PAUSE_SECONDS)
            if waiter is not None:
                await waiter.wait(WAIT_SECONDS)


async def _found(values: Values, http: HttpRequest) -> Found:
    if inspect.iscoroutinefunction(values):
        found: Found = await values(http, **http.path_params)
        return found
    return await asyncio.to_thread(cast(Callable[..., Found], values), http, **http.path_params)
