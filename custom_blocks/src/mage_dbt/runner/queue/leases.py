"""Leases: locks in PostgreSQL that tell which runners and runs are alive.

A session-level advisory lock lives as long as its session, and the session as long as a process
has the other end of its socket open. When the last such process dies, however it dies, the kernel
closes the socket and PostgreSQL drops the lock. A runner holds a lock of its own. Each running run
has a lease: a lock whose session is open in the runner and in the run's worker, so that it lasts
until both are dead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

log = logging.getLogger(__name__)

Session = psycopg.Connection[dict[str, Any]]

# The first of an advisory lock's two numbers; other programs on this database choose their own.
QUEUE = 0x6D64_0001
"""Held for the few milliseconds in which one runner decides."""

RUNNER = 0x6D64_0002
"""Held by each living runner; the second number is the runner's."""

RUN = 0x6D64_0003
"""Held by each running run; the second number is its entry's lease."""

# No timeout of the server may end a session that is idle on purpose. A machine that vanishes has to
# be noticed in half a minute, not in two hours. Only known names are set, because an older server
# does not know them all.
SESSION_SETTINGS = """
select set_config(name, value, false)
from (values
    ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'),
    ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3')
) as wanted (name, value)
where name in (select name from pg_settings)
"""

CONNECT_SECONDS = 5


def open_session(database_url: str, name: str) -> Session:
    """A session of its own, outside any transaction. Raises psycopg.Error."""
    session: Session = psycopg.connect(
        database_url,
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
        application_name=name,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        row_factory=dict_row,
    )
    session.execute(SESSION_SETTINGS)
    return session


def take(session: Session, kind: int, number: int) -> bool:
    """Takes the lock if it is free; says whether it did."""
    row = session.execute(
        "select pg_try_advisory_lock(%s::int, %s::int) as taken", [kind, number]
    ).fetchone()
    assert row is not None
    return bool(row["taken"])


def alive(session: Session) -> bool:
    """Whether the session is still there; reads what its socket holds, notifications too."""
    try:
        session.pgconn.consume_input()
    except psycopg.Error:
        return False
    while notification := session.pgconn.notifies():
        if session.pgconn.notify_handler:
            session.pgconn.notify_handler(notification)
    return bool(session.pgconn.status == psycopg.pq.ConnStatus.OK)


HELD = """
select classid::bigint as kind, objid::bigint as number from pg_locks
where locktype = 'advisory' and objsubid = 2 and granted
    and database = (select oid from pg_database where datname = current_database())
    and classid::bigint = any(%s)
"""


def held(session: Session) -> set[tuple[int, int]]:
    """The locks of all living runners and running runs: kind and number."""
    rows = session.execute(HELD, [[RUNNER, RUN]]).fetchall()
    return {(row["kind"], row["number"]) for row in rows}


@dataclass
class _Lease:
    """The lease of one running run; without a session it has to be taken (again)."""

    number: int
    on_taken: Callable[[int], None]
    session: Session | None = None

    def drop(self) -> None:
        if self.session is not None:
            self.session.close()
            self.session = None


class Leases:
    """The leases of this runner's running runs; for one thread."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._leases: dict[str, _Lease] = {}

    def add(self, run: str, number: int, on_taken: Callable[[int], None]) -> None:
        """The run needs a lease. `on_taken` is called with the descriptor of its session each time
        that the lease is taken."""
        self._leases[run] = _Lease(number, on_taken)

    def take_missing(self) -> Iterator[str]:
        """Takes the leases that have no session; gives the run of each. Raises psycopg.Error."""
        for run, lease in list(self._leases.items()):
            if lease.session is not None:
                continue
            session = open_session(self._url, f"mage-dbt run {run}")
            if not take(session, RUN, lease.number):
                session.close()  # PostgreSQL has not noticed yet that the lost session is gone
                continue
            lease.on_taken(session.fileno())
            lease.session = session
            yield run

    def drop(self, run: str) -> None:
        """Closes our end of the run's lease; a living worker keeps it."""
        lease = self._leases.pop(run, None)
        if lease is not None:
            lease.drop()

    def drop_all(self) -> None:
        for run in list(self._leases):
            self.drop(run)

    def drop_lost(self) -> None:
        """Forgets sessions that PostgreSQL has ended, so that their leases are taken again."""
        for run, lease in self._leases.items():
            if lease.session is not None and not alive(lease.session):
                log.warning("run %s: the session of its lease is gone; taking it again", run)
                lease.drop()

    @property
    def any_missing(self) -> bool:
        return any(lease.session is None for lease in self._leases.values())

    def descriptors(self) -> list[int]:
        """The sockets of the leases' sessions, to wait on."""
        return [
            lease.session.fileno() for lease in self._leases.values() if lease.session is not None
        ]
