"""The ledger's tables of alerts: what was alerted, and each attempt to deliver it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mage_dbt.ledger.ledger import Ledger
from mage_dbt.ledger.sql import FINAL_STATES
from mage_dbt.model import codec
from mage_dbt.model.alert import DeliveryState, Kind, Message, Sent
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run

ENDED = f"""
select run, min(at) as at
from ledger.event
where kind = 'state' and at > %s and data ->> 'state' in {FINAL_STATES}
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
values (%(key)s, %(at)s, %(kind)s, %(run)s, %(root)s, %(title)s, %(body)s, %(channels)s)
on conflict (key) do nothing
returning key
"""

INSERT_ATTEMPT = """
insert into ledger.alert_delivery (alert, at, channel, label, outcome, detail, seconds)
values (%(alert)s, now(), %(channel)s, %(label)s, %(outcome)s, %(detail)s, %(seconds)s)
"""

LAST_SENT = """
select alert.at, alert.kind, alert.title, alert.run, coalesce(tried.label, '') as channel,
    coalesce(tried.outcome, '') as outcome, coalesce(tried.detail, '') as detail,
    tried.at as tried_at
from (select * from ledger.alert order by at desc, key limit %s) as alert
left join lateral (
    select distinct on (channel) * from ledger.alert_delivery as attempt
    where attempt.alert = alert.key order by channel, seq desc
) as tried on true
order by alert.at desc, alert.key, channel
"""

PENDING = """
select alert.*, channel.digest as channel
from ledger.alert cross join lateral unnest(alert.channels) as channel (digest)
where not exists (
    select from ledger.alert_delivery as attempt
    where attempt.alert = alert.key and attempt.channel = channel.digest
        and attempt.outcome <> 'failed'
)
order by alert.at, alert.key
"""

HOW_ASKED = ["cause", "caller", "why", "key", "mage_run", "keep_views", "digest", "wait_for_commit"]
"""Fields of a request that do not change what it asks for; `Request.same_work` ignores the same."""

OPEN_FAILURES = f"""
with failure as (
    select alert.run, alert.story as root, root.request - %(how)s::text[] as asked, root.target,
        ended.at, alert.channels <> '{{}}' as had_channels
    from ledger.alert
    join ledger.run as root on root.id = alert.story
    join ledger.event as ended on ended.run = alert.run and ended.kind = 'state'
        and ended.data ->> 'state' in {FINAL_STATES}
    where alert.kind = 'failure' and ended.at < %(at)s
),
last as (
    select distinct on (asked, target) * from failure order by asked, target, at desc, run desc
)
select run, root, asked, target, had_channels from last
where not exists (
    select from ledger.alert as recovery
    join ledger.event as ended on ended.run = recovery.run and ended.kind = 'state'
        and ended.data ->> 'state' in {FINAL_STATES}
    where recovery.key = 'recovery:failure:' || last.run and ended.at < %(at)s
)
order by at desc, run desc
limit %(most)s
"""
"""For each request the last failure with an alert, unless it had recovered, as it stood at a time.

So a runner that looks back again finds what the runner before it found.
"""

MOST_OPEN_FAILURES = 50
"""The newest ones that are checked when a run ends."""

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

FIRST_EVENT = """
select least(
    (select min(asked_at) from ledger.run), (select min(at) from ledger.commit_event)
) as at
"""


@dataclass(frozen=True)
class Alert:
    """One alert. `key` names the event, and an event has one alert.

    `root` is the run that `run` goes back to by reruns. `channels` are the digests of the channels
    that it goes to; a `silent` one goes to none, because the message of another one says it too.
    """

    key: str
    at: datetime
    message: Message
    run: str | None = None
    root: str | None = None
    channels: tuple[str, ...] = ()
    silent: bool = False


@dataclass(frozen=True)
class OpenFailure:
    """The last failure of a request that had an alert and has not recovered.

    `root` is the run that `run` goes back to by reruns, `asked` what its request asks for.
    `had_channels` says whether the alert went to any channel.
    """

    run: str
    root: str
    asked: Request
    target: str
    had_channels: bool

    def same_request(self, root: Run) -> bool:
        """Whether the run `root` was asked for the same."""
        return root.target == self.target and root.request.same_work(self.asked)


@dataclass(frozen=True)
class UnrepairedCommit:
    """A broken commit that had an alert.

    `sha` ends in `:machine` when the machine was to blame. `message` is the whole error; None when
    no commit is to blame.
    """

    sha: str
    body: str
    message: str | None

    def same_reason(self, message: str, body: str, sha: str) -> bool:
        """Whether another commit is broken for the same reason, so that an alert has no news."""
        before, now = (self.message, message) if self.message else (_why(self.body), _why(body))
        return _without_sha(before, self.sha) == _without_sha(now, sha)


class AlertLedger:
    """The alerts in one ledger. Every method raises LedgerUnreachable while it is away."""

    def __init__(self, ledger: Ledger) -> None:
        self._connection = ledger.connection  # the same pool and the same errors

    def ended_since(self, moment: datetime) -> list[str]:
        """Ids of the runs that ended after `moment`, in that order."""
        with self._connection() as connection:
            return [row["run"] for row in connection.execute(ENDED, [moment]).fetchall()]

    def known(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that have an alert."""
        with self._connection() as connection:
            rows = connection.execute(
                "select key from ledger.alert where key = any(%s)", [list(keys)]
            ).fetchall()
        return {row["key"] for row in rows}

    def root(self, run: str) -> str:
        """The run that this one goes back to by reruns; the run itself when it is no rerun."""
        return self._value(ROOT, run) or run

    def open_failures(self, at: datetime) -> list[OpenFailure]:
        """The failures that were open at that time, newest first."""
        values = {"how": HOW_ASKED, "at": at, "most": MOST_OPEN_FAILURES}
        with self._connection() as connection:
            rows = connection.execute(OPEN_FAILURES, values).fetchall()
        return [OpenFailure(**row | {"asked": Request.from_json(row["asked"])}) for row in rows]

    def unrepaired_commits(self) -> list[UnrepairedCommit]:
        """The broken commits with an alert since the branch was last repaired, oldest first."""
        with self._connection() as connection:
            return [UnrepairedCommit(**row) for row in connection.execute(UNREPAIRED).fetchall()]

    def first_event(self) -> datetime | None:
        """When the first thing happened that the ledger knows; None in an empty ledger."""
        found: datetime | None = self._value(FIRST_EVENT)
        return found

    def add(self, alert: Alert) -> bool:
        """Writes an alert; False when its key has one already."""
        values = {
            "key": alert.key,
            "at": alert.at,
            "kind": alert.message.kind,
            "run": alert.run,
            "root": alert.root,
            "title": alert.message.title,
            "body": alert.message.body,
            "channels": list(alert.channels),
        }
        with self._connection() as connection:
            return connection.execute(INSERT_ALERT, values).fetchone() is not None

    def last_sent(self, limit: int = 20) -> list[Sent]:
        """The last alerts, the newest first, with the last attempt on each channel."""
        with self._connection() as connection:
            rows = connection.execute(LAST_SENT, [limit]).fetchall()
        return [codec.read(Sent, row) for row in rows]

    def pending(self) -> list[tuple[Alert, str]]:
        """Alerts whose delivery to a channel has no end yet, with the channel, oldest first."""
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

    def add_attempt(
        self,
        alert: str,
        channel: str,
        label: str,
        outcome: DeliveryState,
        detail: str,
        seconds: float,
    ) -> None:
        """Writes an attempt to deliver an alert to a channel."""
        values = {
            "alert": alert,
            "channel": channel,
            "label": label,
            "outcome": outcome,
            "detail": detail,
            "seconds": round(seconds, 3),
        }
        with self._connection() as connection:
            connection.execute(INSERT_ATTEMPT, values)

    def _value(self, query: str, *values: Any) -> Any:
        with self._connection() as connection:
            row = connection.execute(query, values).fetchone()
        return next(iter(row.values())) if row else None


def _why(body: str) -> str:
    return next((line for line in body.splitlines() if line.startswith("Why: ")), "")


def _without_sha(text: str, sha: str) -> str:
    return re.sub(rf"{re.escape(sha[:7])}[0-9a-f]*", "", text)
