"""Sessions of PostgreSQL that do nothing but hold a lock.

A session-level advisory lock lives as long as its session, and the session as long as somebody has
the other end of its socket. So a lock tells that its holder lives: when that dies, however it dies,
the kernel closes the socket and PostgreSQL drops the lock.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

Session = psycopg.Connection[dict[str, Any]]

# The first of an advisory lock's two numbers; others that use the same database choose their own.
LINE = 0x6D64_0001
"""Held for the few milliseconds in which one runner decides."""

RUNNER = 0x6D64_0002
"""One for each runner that lives; the second number is the runner's."""

RUN = 0x6D64_0003
"""One for each run that is going on; the second number is its place's."""

# No timeout of the server's may end a session that is idle on purpose, and a machine that vanishes
# without a word has to be noticed in half a minute and not in two hours. Asked for by name, because
# an older server does not know them all.
QUIET = """
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
    session.execute(QUIET)
    return session


def take(session: Session, kind: int, number: int) -> bool:
    """Takes the lock if nobody has it; says whether it did."""
    row = session.execute(
        "select pg_try_advisory_lock(%s::int, %s::int) as taken", [kind, number]
    ).fetchone()
    assert row is not None
    return bool(row["taken"])


def lives(session: Session) -> bool:
    """Whether the session is still there; ask when its socket has something to read."""
    try:
        session.pgconn.consume_input()
    except psycopg.Error:
        return False
    return bool(session.pgconn.status == psycopg.pq.ConnStatus.OK)


HELD = """
select classid::bigint as kind, objid::bigint as number from pg_locks
where locktype = 'advisory' and objsubid = 2 and granted
    and database = (select oid from pg_database where datname = current_database())
    and classid::bigint = any(%s)
"""


def held(session: Session) -> set[tuple[int, int]]:
    """Every runner's and run's lock that somebody holds: kind and number."""
    rows = session.execute(HELD, [[RUNNER, RUN]]).fetchall()
    return {(row["kind"], row["number"]) for row in rows}
