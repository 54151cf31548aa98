"""Freezes new rows, and waits until every open transaction can see them.

A transaction whose snapshot is older than the new rows would find none of them after the swap, and
no error. VACUUM marks a page as visible to all only when no snapshot is older than its rows. So the
pages that are not marked show what pg_stat_activity hides from an ordinary role.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mage_dbt.model.refresh import Check, CheckName, RefreshOptions
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.refresh import Part, Report
from mage_dbt.warehouse.refresh.postgres import locks
from mage_dbt.warehouse.session import Session

PROBE = "mage_dbt_probe"
"""A table of one row, newer than all that is aside: whoever can see it can see the rest. So large
tables are not vacuumed again and again."""

POLL_SECONDS, REPORT_SECONDS = 0.5, 30.0

NAMED = 5
"""Transactions that a sentence names."""

HIDDEN = """
select relpages > relallvisible as hidden from pg_catalog.pg_class where oid = %(table)s::regclass
"""


def settle(
    session: Session, parts: Sequence[Part], aside: str, options: RefreshOptions, report: Report
) -> Check:
    """The check SNAPSHOT. `aside` is a schema of the run's, for a table of its own."""
    tables = [part.incoming for part in parts if not part.is_view]
    earlier = locks.open_transactions(session)
    hidden = [table for table in tables if _freeze(session, table)]
    if not hidden:
        return Check(CheckName.SNAPSHOT, True, "Every open transaction can see the new rows.")
    began = time.monotonic()
    reported = 0.0
    with _probe(session, aside) as probe:
        while time.monotonic() - began < options.snapshot_seconds:
            if not _freeze(session, probe):
                hidden = [table for table in hidden if _freeze(session, table)]
                if not hidden:
                    seconds = time.monotonic() - began
                    return Check(
                        CheckName.SNAPSHOT,
                        True,
                        "Every open transaction can see the new rows, after a wait of "
                        f"{seconds:.0f} s for older ones.",
                    )
            if not reported or time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                older = _older(session, earlier)
                report(f"Waits for transactions that are older than the new rows: {older}.")
            time.sleep(POLL_SECONDS)
    return Check(
        CheckName.SNAPSHOT,
        False,
        "Open transactions are older than the new rows and would find none of them: "
        f"{_older(session, earlier)}.",
        overridden=CheckName.SNAPSHOT in options.override,
    )


def _freeze(session: Session, table: Name) -> bool:
    """Freezes the table; returns whether some snapshot is older than one of its rows."""
    session.execute(f"vacuum (freeze, analyze) {table}")
    (row,) = session.rows(HIDDEN, {"table": str(table)})
    return bool(row["hidden"])


@contextmanager
def _probe(session: Session, aside: str) -> Iterator[Name]:
    probe = Name("", aside, PROBE)
    session.execute(f"drop table if exists {probe}")
    session.execute(f"create table {probe} as select 1 as row")
    try:
        yield probe
    finally:
        if not session.ended:
            session.execute(f"drop table if exists {probe}")


def _older(session: Session, earlier: Mapping[str, Mapping[str, Any]]) -> str:
    """The transactions of that moment that are open still."""
    still = [row for number, row in locks.open_transactions(session).items() if number in earlier]
    named = locks.listed(still[:NAMED])
    if not named:
        return "which, the server does not show"
    return named + (f" and {len(still) - NAMED} more" if len(still) > NAMED else "")
