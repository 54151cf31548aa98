"""Event streams wake when PostgreSQL notifies, and by themselves where it does not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mage_dbt.launcher.database_roles import SUPERUSER
from mage_dbt.ledger.event_feed import CHANNEL, EventFeed
from tests.harness.database import Database
from tests.harness.waiting import SECONDS, wait_until

LISTENING = """
select pid from pg_stat_activity
where application_name = 'mage-dbt runner events' and query like 'listen%' and state = 'idle'
"""
"""Idle: it has listened. Before that a notification would be lost."""


@pytest.fixture
def feed(server: Database) -> Iterator[EventFeed]:
    server.renew()
    found = EventFeed(server.url("runner"))
    found.start()
    try:
        yield found
    finally:
        found.stop()


def listening(server: Database) -> list[int]:
    """Waits until the feed listens; gives its backend's process id."""

    def probe() -> list[int] | str:
        return [pid for (pid,) in server.rows(SUPERUSER, LISTENING)] or "nobody listens"

    return wait_until("the feed to listen", probe)


def notify(server: Database, run: str) -> None:
    server.rows("runner", "select pg_notify(%s, %s)", CHANNEL, run)


def woken(feed: EventFeed, run: str, do: Callable[[], None], most: float = SECONDS) -> bool:
    """Whether a waiter for `run` is woken, and does not just wait, while `do` runs in a thread."""

    async def wait() -> bool:
        with feed.waiter(run) as waiter:
            threading.Thread(target=do, daemon=True).start()
            begun = time.monotonic()
            await waiter.wait(most)
            return time.monotonic() - begun < most

    return asyncio.run(wait())


def test_a_waiter_wakes_for_its_run_and_not_for_others(server: Database, feed: EventFeed) -> None:
    listening(server)
    assert woken(feed, "a", lambda: notify(server, "a"))
    assert not woken(feed, "a", lambda: notify(server, "b"), 1)  # has to pass


def test_a_lost_connection_is_made_again_and_wakes_all(server: Database, feed: EventFeed) -> None:
    [lost] = listening(server)

    def end() -> None:
        server.rows(SUPERUSER, "select pg_terminate_backend(%s)", lost)

    assert woken(feed, "a", end)  # what came meanwhile is looked for
    assert listening(server) != [lost]
    assert woken(feed, "a", lambda: notify(server, "a"))
