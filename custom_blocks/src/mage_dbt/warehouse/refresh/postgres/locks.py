"""Who holds a relation's lock or waits for it, and who has a transaction open.

`pg_locks` shows everybody's locks to everybody. `pg_stat_activity` shows names, but not what the
session of another role does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mage_dbt.warehouse.session import Session

WAITING = """
select from pg_catalog.pg_locks
where locktype = 'relation' and not granted and relation = any(%(oids)s::oid[])
    and database = (select oid from pg_catalog.pg_database where datname = current_database())
    and pid <> pg_backend_pid()
limit 1
"""

HOLDERS = """
select distinct locks.pid, activity.usename::text as role, activity.application_name as application
from pg_catalog.pg_locks as locks
left join pg_catalog.pg_stat_activity as activity on activity.pid = locks.pid
where locks.locktype = 'relation' and locks.granted and locks.relation = any(%(oids)s::oid[])
    and locks.database = (select oid from pg_catalog.pg_database where datname = current_database())
    and locks.pid is distinct from pg_backend_pid()
    and (%(readers)s or locks.mode <> 'AccessShareLock')
order by locks.pid
"""

OPEN = """
select locks.virtualtransaction as transaction, locks.pid, activity.usename::text as role,
    activity.application_name as application, pg_catalog.age(activity.backend_xmin) as age
from pg_catalog.pg_locks as locks
join pg_catalog.pg_stat_activity as activity on activity.pid = locks.pid
where locks.locktype = 'virtualxid' and locks.granted and locks.pid <> pg_backend_pid()
    and activity.datname = current_database()
union all
select gid, null, owner::text, 'prepared transaction ' || gid, pg_catalog.age(transaction)
from pg_catalog.pg_prepared_xacts where database = current_database()
union all
select slot_name::text, active_pid, null, 'replication slot ' || slot_name, pg_catalog.age(xmin)
from pg_catalog.pg_replication_slots where xmin is not null
order by age desc nulls last, pid
"""
"""Everybody's open transactions: each holds the lock of its own virtual number."""

FIRST_OID = 16384
"""Of what people make; the server's own relations come before it. See `transam.h`."""

BEGINNING = """
select activity.pid, activity.usename::text as role, activity.application_name as application
from pg_catalog.pg_stat_activity as activity
left join pg_catalog.pg_locks as locks on locks.pid = activity.pid
    and locks.locktype = 'relation' and locks.relation >= %(first)s
where activity.datname = current_database() and activity.application_name = 'pg_dump'
group by 1, 2, 3
having not coalesce(bool_and(locks.granted), false)
order by 1
"""
"""Dumps that have not locked all of their tables yet: none of them, or they wait for one. They may
have listed them already, by names that they will lock; a name that is gone by then ends the dump
with an error."""


def dumps_beginning(session: Session) -> str:
    """Who dumps this database, and has not locked its tables yet; empty for nobody."""
    # A transaction looks at the list of sessions once, and keeps it.
    session.execute("select pg_catalog.pg_stat_clear_snapshot()")
    return listed(session.rows(BEGINNING, {"first": FIRST_OID}))


def somebody_waits(session: Session, oids: Sequence[int]) -> bool:
    """Whether anybody waits for a lock of these relations."""
    return bool(session.rows(WAITING, {"oids": [*oids]}))


def holders(session: Session, oids: Sequence[int], readers: bool) -> str:
    """Who holds locks of these relations; with `readers` also those that only read."""
    rows = session.rows(HOLDERS, {"oids": [*oids], "readers": readers})
    return listed(rows) or "somebody who has ended meanwhile"


def open_transactions(session: Session) -> dict[str, dict[str, Any]]:
    """Other sessions' transactions in this database, the oldest first where that is shown."""
    return {row["transaction"]: row for row in session.rows(OPEN)}


def listed(rows: Iterable[Mapping[str, Any]]) -> str:
    texts = []
    for row in rows:
        names = [text for text in (row["application"], row["role"]) if text]
        who = f"process {row['pid']}" if row["pid"] else "a prepared transaction"
        texts.append(f"{who} ({', '.join(names)})" if names else who)
    return ", ".join(texts)
