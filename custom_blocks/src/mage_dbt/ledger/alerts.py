"""Reading and writing what the ledger keeps of alerts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from mage_dbt.alerts.message import Kind, Message
from mage_dbt.ledger.ledger import Ledger
from mage_dbt.run import Run

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

HOW_ASKED = ["cause", "caller", "why", "key", "mage_run", "keep_views", "digest", "wait_for_commit"]
"""Fields of a request that do not say what is asked for."""

TROUBLES = """
with told as (
    select alert.run, alert.story, root.request - %(how)s::text[] as asked, root.target, ended.at,
        alert.channels <> '{}' as heard
    from ledger.alert
    join ledger.run as root on root.id = alert.story
    join ledger.event as ended on ended.run = alert.run and ended.kind = 'state'
        and ended.data ->> 'state' in ('Success', 'Error', 'Cancelled')
    where alert.kind = 'failure' and ended.at < %(at)s
),
last as (
    select distinct on (asked, target) * from told order by asked, target, at desc, run desc
)
select run, story, asked, target, heard from last
where not exists (
    select from ledger.alert as over
    join ledger.event as ended on ended.run = over.run and ended.kind = 'state'
        and ended.data ->> 'state' in ('Success', 'Error', 'Cancelled')
    where over.key = 'recovery:failure:' || last.run and ended.at < %(at)s
)
order by at desc, run desc
limit %(most)s
"""
"""The last failure that was told of each request, unless it was over, as it stood at a time: so a
runner that looks back again finds what the one before it found."""

MOST_TROUBLES = 50
"""The newest that are looked at when a run ends."""

UNREPAIRED = """
select substr(key, length('broken:') + 1) as sha, body, (
    select message from ledger.commit_event
    where state = 'broken' and commit_event.sha = substr(key, length('broken:') + 1)
    order by seq desc limit 1
) as message
from ledger.alert
where kind = 'broken' and at > coalesce(
    (select max(at) from ledger.alert where starts_with(key, 'recovery:broken:')), '-infinity'
)
order by at, key
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


@dataclass(frozen=True)
class Trouble:
    """A failure that was told last of one request."""

    run: str
    story: str
    """The run that it goes back to."""
    asked: Mapping[str, Any]
    target: str
    heard: bool
    """Whether there was anybody to be told."""

    def same_request(self, root: Run) -> bool:
        """Whether it is of what `root` asked for."""
        asked = {name: value for name, value in root.request.items() if name not in HOW_ASKED}
        return (asked, root.target) == (self.asked, self.target)


@dataclass(frozen=True)
class Unrepaired:
    """A commit that was told as broken; `sha` ends in `:machine` where the machine was to blame."""

    sha: str
    body: str
    message: str | None
    """All that was said of it; None where no commit is to blame."""

    def same_reason(self, message: str, body: str, sha: str) -> bool:
        """Whether another commit is broken for the same reason, so that there is nothing new."""
        before, now = (self.message, message) if self.message else (_why(self.body), _why(body))
        return _without_sha(before, self.sha) == _without_sha(now, sha)


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

    def troubles(self, at: datetime) -> list[Trouble]:
        """What had been told as failed before that time and was not over, newest first."""
        values = {"how": HOW_ASKED, "at": at, "most": MOST_TROUBLES}
        with self._connection() as connection:
            rows = connection.execute(TROUBLES, values).fetchall()
        return [Trouble(**row) for row in rows]

    def unrepaired(self) -> list[Unrepaired]:
        """Commits that were told as broken, without a word since that the branch is whole again,
        oldest first."""
        with self._connection() as connection:
            return [Unrepaired(**row) for row in connection.execute(UNREPAIRED).fetchall()]

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


def _why(body: str) -> str:
    return next((line for line in body.splitlines() if line.startswith("Why: ")), "")


def _without_sha(text: str, sha: str) -> str:
    return re.sub(rf"{re.escape(sha[:7])}[0-9a-f]*", "", text)
