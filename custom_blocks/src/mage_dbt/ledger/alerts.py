"""Reading and writing what the ledger keeps of alerts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from mage_dbt.alerts.message import Kind, Message
from mage_dbt.ledger.ledger import Ledger

ENDED = """
select run, min(at) as at
from ledger.event
where kind = 'state' and at > %s and data ->> 'state' in ('Success', 'Error', 'Cancelled')
group by run
order by 2, 1
"""

ROOT = """
with recursive back as (
    select id, follows, 0 as steps from ledger.run where id = %s
    union all
    select run.id, run.follows, back.steps + 1
    from back join ledger.run on run.id = back.follows
    where back.steps < 1000
)
select id from back order by steps desc limit 1
"""

INSERT_ALERT = """
insert into ledger.alert (key, at, kind, run, story, title, body, channels)
values (%(key)s, %(at)s, %(kind)s, %(run)s, %(story)s, %(title)s, %(body)s, %(channels)s)
on conflict (key) do nothing
returning key
"""

INSERT_DELIVERY = """
insert into ledger.alert_delivery (alert, at, channel, label, outcome, detail, seconds)
values (%(alert)s, now(), %(channel)s, %(label)s, %(outcome)s, %(detail)s, %(seconds)s)
"""

PENDING = """
select told.*, meant.channel
from ledger.alert as told cross join lateral unnest(told.channels) as meant (channel)
where not exists (
    select from ledger.alert_delivery as tried
    where tried.alert = told.key and tried.channel = meant.channel and tried.outcome <> 'failed'
)
order by told.at, told.key
"""

LAST_FAILURE = """
select run from ledger.alert where kind = 'failure' and story = %s
order by at desc, run desc limit 1
"""

LAST_FAILED_MORNING = """
select alert.run
from ledger.alert join ledger.run on run.id = alert.story
where alert.kind = 'failure' and run.morning < %s
order by run.morning desc, alert.at desc, alert.run desc
limit 1
"""

UNREPAIRED = """
select substr(key, length('broken:') + 1) as sha
from ledger.alert as told
where kind = 'broken'
    and not exists (select from ledger.alert where key = 'recovery:' || told.key)
order by at
"""

BEGUN = """
select least(
    (select min(asked_at) from ledger.run), (select min(at) from ledger.commit_event)
) as at
"""


@dataclass(frozen=True)
class Alert:
    """One event that is told, and the digests of the channels it is meant for."""

    key: str
    at: datetime
    message: Message
    run: str | None = None
    story: str | None = None
    channels: tuple[str, ...] = ()


class AlertBook:
    """The alerts in one ledger. Every method raises LedgerUnreachable while it is away."""

    def __init__(self, ledger: Ledger) -> None:
        self._connection = ledger._connection  # the same pool, and the same error when it is away

    def ended_since(self, moment: datetime) -> list[str]:
        """Runs that came to their end after that, in that order."""
        with self._connection() as connection:
            return [row["run"] for row in connection.execute(ENDED, [moment]).fetchall()]

    def known(self, keys: Iterable[str]) -> set[str]:
        """Which of these events have been told already."""
        with self._connection() as connection:
            rows = connection.execute(
                "select key from ledger.alert where key = any(%s)", [list(keys)]
            ).fetchall()
        return {row["key"] for row in rows}

    def root(self, run: str) -> str:
        """The run that this one goes back to by reruns; itself when it is none."""
        return self._one(ROOT, run) or run

    def last_failure(self, story: str) -> str | None:
        """The run of that story that was told last as failed."""
        return self._one(LAST_FAILURE, story)

    def last_failed_morning(self, before: str) -> str | None:
        """The run that was told last of the newest failed daily build of an earlier date."""
        return self._one(LAST_FAILED_MORNING, before)

    def unrepaired(self) -> list[str]:
        """Commits that were told as broken, without a word that the branch is whole again."""
        with self._connection() as connection:
            return [row["sha"] for row in connection.execute(UNREPAIRED).fetchall()]

    def begun(self) -> datetime | None:
        """When the first thing happened that the ledger knows of."""
        found: datetime | None = self._one(BEGUN)
        return found

    def pipeline(self, mage_run: int) -> str | None:
        """The name of a Mage pipeline run's pipeline, from Mage's own table; None without one."""
        try:
            return self._one("select pipeline_uuid from mage.pipeline_run where id = %s", mage_run)
        except psycopg.Error:  # no such table yet, or another in another version of Mage
            return None

    def add(self, alert: Alert) -> bool:
        """Writes down that this is told; False when it was already."""
        values = {
            "key": alert.key,
            "at": alert.at,
            "kind": alert.message.kind,
            "run": alert.run,
            "story": alert.story,
            "title": alert.message.title,
            "body": alert.message.body,
            "channels": list(alert.channels),
        }
        with self._connection() as connection:
            return connection.execute(INSERT_ALERT, values).fetchone() is not None

    def pending(self) -> list[tuple[Alert, str]]:
        """Alerts with a channel on which they have not come to an end yet, oldest first."""
        with self._connection() as connection:
            rows = connection.execute(PENDING).fetchall()
        return [
            (
                Alert(
                    row["key"],
                    row["at"],
                    Message(Kind(row["kind"]), row["title"], row["body"]),
                    row["run"],
                    row["story"],
                    tuple(row["channels"]),
                ),
                row["channel"],
            )
            for row in rows
        ]

    def tried(
        self, alert: str, channel: str, label: str, outcome: str, detail: str, seconds: float
    ) -> None:
        """Writes down one try; `outcome` is delivered, failed (tried again) or not delivered."""
        values = {
            "alert": alert,
            "channel": channel,
            "label": label,
            "outcome": outcome,
            "detail": detail,
            "seconds": round(seconds, 3),
        }
        with self._connection() as connection:
            connection.execute(INSERT_DELIVERY, values)

    def _one(self, query: str, *values: Any) -> Any:
        with self._connection() as connection:
            row = connection.execute(query, values).fetchone()
        return next(iter(row.values())) if row else None
