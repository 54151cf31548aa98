"""Tells waiting event streams that their run has new events.

PostgreSQL notifies: a trigger on `ledger.event` sends the run's id. One connection of the runner
listens for all streams. A notification may get lost, in a pooler or with the connection, so whoever
waits looks by itself after a few seconds as well.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from mage_dbt.base.redaction import scrub

log = logging.getLogger(__name__)

CHANNEL = "mage_dbt_event"
"""The trigger's channel; a payload is the id of a run."""

RECONNECT_SECONDS = 2.0

STOP_SECONDS = 1.0
"""How long the connection waits for a notification before it looks whether it is to end."""


class Waiter:
    """One stream that waits for events of one run, in the event loop that makes it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Returns when there may be new events, after `seconds` at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    def wake(self) -> None:
        """Ends the wait; may be called from any thread."""
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(self._news.set)


class EventFeed:
    """The notifications of one database. Without `start` waiters only look by themselves."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._waiters: dict[str, set[Waiter]] = {}
        self._guard = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begins to listen, in a thread of its own."""
        threading.Thread(target=self._run, name="event feed", daemon=True).start()

    def stop(self) -> None:
        """Ends the connection, within STOP_SECONDS."""
        self._stopped.set()

    @contextmanager
    def waiter(self, run: str) -> Iterator[Waiter]:
        """A waiter for the run's events, as long as the block lasts; within a running loop."""
        waiter = Waiter()
        with self._guard:
            self._waiters.setdefault(run, set()).add(waiter)
        try:
            yield waiter
        finally:
            with self._guard:
                self._waiters[run].discard(waiter)
                if not self._waiters[run]:
                    del self._waiters[run]

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                log.warning("no notifications of events for now: %s", scrub(str(error).strip()))
                self._stopped.wait(RECONNECT_SECONDS)

    def _listen(self) -> None:
        with psycopg.connect(
            self._database_url,
            autocommit=True,
            application_name="mage-dbt runner events",
            connect_timeout=5,
        ) as connection:
            connection.execute(f"listen {CHANNEL}")
            self._wake_all()  # for what came while nobody listened
            while not self._stopped.is_set():
                for notification in connection.notifies(timeout=STOP_SECONDS):
                    self._wake(notification.payload)

    def _wake(self, run: str) -> None:
        with self._guard:
            for waiter in self._waiters.get(run, ()):
                waiter.wake()

    def _wake_all(self) -> None:
        with self._guard:
            for waiters in self._waiters.values():
                for waiter in waiters:
                    waiter.wake()
