"""Whether anybody has written to a table since a moment: certain, and without privileges.

The marker is a sum over all rows that one snapshot sees, of a hash of the transaction that made
each. A row that was inserted or updated later has a later transaction, so the sum is another, also
when as many rows were deleted, and also for an update within a page (HOT). A transaction's number
comes again only after 2^32 others.

VACUUM FREEZE changes nothing: since PostgreSQL 9.4 a frozen row keeps the number, and only a flag
says that it is frozen. TRUNCATE, DELETE and a rewrite that makes the rows anew are noticed; VACUUM
FULL and CLUSTER, which only move them, are not and need not be.
"""

from __future__ import annotations

from dataclasses import dataclass

from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.session import Session

# Grouped first: there are few transactions and many rows. `xid` has no other cast than text.
MARKER = """
select coalesce(sum(made), 0)::bigint as rows,
    coalesce(sum(made::numeric * pg_catalog.hashtextextended(by::text, 0)), 0)::text as sum
from (select xmin as by, count(*) as made from {table} group by xmin) as transactions
"""


@dataclass(frozen=True)
class Marker:
    rows: int
    sum: str


def read(session: Session, table: Name) -> Marker:
    """Reads the whole table, once."""
    (row,) = session.rows(MARKER.format(table=table))
    return Marker(row["rows"], row["sum"])
