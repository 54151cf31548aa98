"""How long readers are locked out, as PostgreSQL itself shows it: looked up again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import psycopg

PAUSE = 0.002
"""Seconds between two looks; what is shorter may be missed."""

HELD = """
select exists (
    select from pg_locks
    where granted and mode = 'AccessExclusiveLock' and locktype = 'relation'
        and database = (select oid from pg_database where datname = current_database())
        and relation = any(%s)
)
"""


class LockWatch:
    """Watches relations by their OIDs while its block runs; `longest` is in seconds."""

    def __init__(self, url: str, oids: Sequence[int]) -> None:
        self.longest = 0.0
        self._url = url
        self._oids = list(oids)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> LockWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        since: float | None = None
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._over.wait(PAUSE):
                began = time.monotonic()
                row = connection.execute(HELD, (self._oids,), prepare=True).fetchone()
                if not (row and row[0]):
                    since = None
                    continue
                since = began if since is None else since
                self.longest = max(self.longest, time.monotonic() - since)
