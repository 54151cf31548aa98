"""The watcher: sees in the ledger what has happened, and tells each of it once.

A failure is told when nobody was watching the run: a daily build, a run asked for over the API,
and any rerun of one of these. Whoever starts a run in Mage or with the tool sees its end there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mage_dbt.alerts import message
from mage_dbt.alerts.channels import Channels, told
from mage_dbt.alerts.deadline import Deadline
from mage_dbt.alerts.last_change import last_change
from mage_dbt.alerts.post import Patience, Post
from mage_dbt.alerts.troubles import Troubles
from mage_dbt.commit import Commit
from mage_dbt.commits import Broken
from mage_dbt.counts import number
from mage_dbt.errors import LedgerUnreachable
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.alerts import Alert, AlertBook
from mage_dbt.mage import project as mage_project
from mage_dbt.morning import Morning, daily_key
from mage_dbt.plan import PlannedNode
from mage_dbt.request import Cause
from mage_dbt.run import RUNNER_STOPPED, Run, RunState
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

NEWS_FOR = timedelta(hours=12)
"""A run that ended longer ago is history, not news: so an old ledger is not told anew."""

OVERLAP = timedelta(seconds=60)
"""A row may be written this long after the time it bears."""

SETTLE = timedelta(minutes=2)
"""A runner that starts after the deadline gives a late build this long to begin."""

BROKEN_FOR = timedelta(minutes=5)
"""A commit is told as broken when it has stayed so for this long: many are repaired at once."""


class Watcher:
    """One runner's watcher. `look` does everything and is called by one thread."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        ledger: Ledger,
        commits: Callable[[], tuple[Commit | None, Broken | None]],
        patience: Patience | None = None,
    ) -> None:
        """`commits` gives the live commit and the broken one."""
        self._settings = settings
        self._home = home
        self._ledger = ledger
        self._commits = commits
        self._zone = ZoneInfo(settings.daily_build_timezone)
        morning = Morning(settings.daily_build_at, self._zone)
        self._deadline = Deadline.of(morning, settings.morning_build_over_by)
        self._sync = settings.dbt_metric_dir or home.sync
        self._channels = Channels(
            settings.alert_urls_file or home.alert_urls, home.api_token.read_text()
        )
        self._book = AlertBook(ledger)
        self._troubles = Troubles(ledger, self._book)
        self._post = Post(self._book, patience)
        self._anybody = False
        self._started: datetime | None = None
        self._resumed = False
        self._looked: datetime | None = None
        self._over: set[str] = set()
        self._overdue_done: date | None = None
        self._broken_since = ("", datetime.min.replace(tzinfo=UTC))
        self._whole = ""
        self._status: dict[str, Any] = {"told": [], "problems": []}

    def status(self) -> dict[str, Any]:
        """Who is told, and what has not got through; never an address."""
        return self._status

    def look(self, now: datetime | None = None) -> None:
        """Tells what is new, and sends what is due. Raises LedgerUnreachable; the next look
        goes on where this one stopped."""
        now = now or datetime.now(UTC)
        self._started = self._started or now
        found = self._channels.look()
        self._anybody = bool(found.channels)
        self._status = {
            "told": told(self._channels.file, found),
            "problems": self._post.problems(),
        }
        try:
            if not self._resumed:
                self._post.resume()
                self._resumed = True
            if found.unreadable:
                return  # nobody knows who is to be told: all of it waits until somebody does
            for alert in self._news(now):
                self._tell(alert, now, tuple(found.channels))
            self._post.look(found.channels)
        except LedgerUnreachable:
            self._resumed = False  # a row may be there although its answer is not
            raise

    def _tell(self, alert: Alert, now: datetime, channels: tuple[str, ...]) -> None:
        meant = replace(alert, at=now, channels=channels)
        if self._book.add(meant):
            log.info("alert %s: %s", alert.key, alert.message.title)
            self._post.add(meant)

    def _news(self, now: datetime) -> Iterator[Alert]:
        since = min(self._looked or now - NEWS_FOR + OVERLAP, now) - OVERLAP
        ended = self._book.ended_since(since)
        for run in ended:
            if run in self._over:
                continue
            try:
                yield from self._of_run(self._ledger.run(run))
            except LedgerUnreachable:
                raise
            except Exception:  # a mistake of ours about one run must not silence all others
                log.exception("alerts: run %s", run)
        yield from self._of_morning(now)
        yield from self._of_main(now)
        self._over, self._looked = set(ended), now

    # ------------------------------------------------------------- runs

    def _of_run(self, run: Run) -> Iterator[Alert]:
        root = self._ledger.run(self._book.root(run.id))
        yield from self._recovery(run, root)
        if run.state is RunState.SUCCESS:
            yield from self._done_after_all(run, root)
        elif run.state is RunState.ERROR or RUNNER_STOPPED in run.detail:
            yield from self._failure(run, root)

    def _failure(self, run: Run, root: Run) -> Iterator[Alert]:
        key = f"failure:{run.id}"
        watched = root.morning is None and root.cause != Cause.API and run.cause != Cause.API
        if watched or self._book.known([key]):
            return
        before = self._troubles.last_told(run, root, self._anybody)
        if before is not None and not run.morning:
            return  # each date's own build is told: silence would say that it is green
        node = self._whose_change(run)
        change = None
        if node is not None and node.path:
            subdir = self._settings.dbt_metric_subdir
            change = last_change(self._sync, run.commit, node.path, subdir)
        name = node.name if node else ""
        text = message.failure(run, root, change, name, self._link(run), self._zone, before)
        yield Alert(key, run.asked_at, text, run.id, root.id)

    def _whose_change(self, run: Run) -> PlannedNode | None:
        """The first node that failed; for a test, the model it tests, when that is planned too."""
        failed = message.first_failed(run)
        planned = {one.node: one for one in self._ledger.plan(run).nodes}
        node = planned.get(failed.node) if failed else None
        if node is None or node.type not in ("test", "unit_test"):
            return node
        tested = [planned[one] for one in node.depends_on if one in planned]
        return tested[0] if tested else node

    def _recovery(self, run: Run, root: Run) -> Iterator[Alert]:
        for failed, how in self._troubles.ended_by(run, root):
            key = f"recovery:failure:{failed.id}"
            if self._book.known([key]):
                continue
            commit = last_change(self._sync, run.commit)
            text = message.recovery(
                run,
                self._ledger.run(self._book.root(failed.id)),
                how,
                commit.author if commit else "",
                self._link(run),
                self._zone,
            )
            yield Alert(key, run.asked_at, text, run.id, root.id)

    def _done_after_all(self, run: Run, root: Run) -> Iterator[Alert]:
        """A build that was told as not over in time is done, whoever began it."""
        if not root.builds_everything:
            return
        day = root.morning or str(root.asked_at.astimezone(self._zone).date())
        overdue = f"overdue:{day}"
        key = f"recovery:{overdue}"
        if self._book.known([overdue, key]) != {overdue}:
            return
        begun = self._ledger.run_with_key(f"daily:{day}")
        if begun is not None and self._book.known([f"failure:{begun.id}"]):
            return  # that it failed was told, and so is what became of that
        by = self._over_by(date.fromisoformat(day))
        text = message.done_after_all(run, day, by, self._link(run), self._zone)
        yield Alert(key, run.asked_at, text, run.id, root.id)

    def _link(self, run: Run) -> str:
        pipeline = self._book.pipeline(run.mage_run) if run.mage_run is not None else None
        if pipeline is None:
            return ""
        return f"{self._settings.mage_address}/pipelines/{pipeline}/runs/{run.mage_run}"

    # ---------------------------------------------------------- morning

    def _of_morning(self, now: datetime) -> Iterator[Alert]:
        day = self._deadline.passed(now)
        if day is None or day == self._overdue_done:
            return
        run = self._ledger.run_with_key(daily_key(day))
        assert self._started is not None
        was_up = self._started <= self._deadline.over_at(day)
        if run is None and not was_up and now < self._started + SETTLE:
            return
        key = f"overdue:{day}"
        by = self._over_by(day)
        if self._book.known([key]):
            pass
        elif run is None and self._expected(day):
            reason = self._why_not_begun(mage_project.daily_is_paused(self._home))
            text = message.overdue(day, by, "has not begun", reason, self._mage_page())
            yield Alert(key, now, text)
        elif run is not None and not run.state.final:
            text = message.overdue(day, by, _stand(run), run.detail, self._link(run), run.id)
            yield Alert(key, now, text, run.id, run.id)
        elif run is not None and self._is_missing(run):
            link = self._link(run)
            text = message.overdue(day, by, "was cancelled", run.detail, link, run.id, False)
            yield Alert(key, now, text, run.id, run.id)
        self._overdue_done = day  # only now: what the ledger did not take is told at the next look

    def _over_by(self, day: date) -> str:
        """`09:00 KST`."""
        return f"{self._deadline.over_at(day).astimezone(self._zone):%H:%M %Z}"

    def _is_missing(self, run: Run) -> bool:
        """Whether a daily build was cancelled by somebody, and nothing else has done its work."""
        if run.state is not RunState.CANCELLED or RUNNER_STOPPED in run.detail:
            return False
        last = self._ledger.last_full_build()
        others = [*self._ledger.story(run.id), *([last] if last else [])]
        return not any(one.state is RunState.SUCCESS for one in others)

    def _expected(self, day: date) -> bool:
        """Whether a build of `day` that has not begun is news."""
        begun = self._book.begun()
        if begun is None or begun > self._deadline.morning.due(day):
            return False  # a new workspace has missed no morning
        # A pause is told on its first day, and not again each morning.
        before = self._ledger.run_with_key(daily_key(day - timedelta(days=1)))
        return before is not None or not mage_project.daily_is_paused(self._home)

    def _why_not_begun(self, paused: bool) -> str:
        live, broken = self._commits()
        if paused:
            return f"its trigger {mage_project.DAILY_TRIGGER!r} is switched off in Mage"
        if live is None:
            wrong = f": {broken.error.message}" if broken else ""
            return f"no commit of dbt-metric is ready{wrong}"
        try:
            processes = json.loads(self._home.processes.read_text())
            mage = next(one["state"] for one in processes if one["name"] == "mage")
        except (OSError, ValueError, LookupError, TypeError, StopIteration):
            return "Mage has not asked for it"
        return "Mage has not asked for it" if mage == "up" else f"Mage is {mage}"

    def _mage_page(self) -> str:
        return f"{self._settings.mage_address}/pipelines/{mage_project.DAILY_PIPELINE}/triggers"

    # ------------------------------------------------------------- main

    def _of_main(self, now: datetime) -> Iterator[Alert]:
        live, broken = self._commits()
        if broken is not None:
            key = f"broken:{broken.sha}" + (":machine" if broken.by_machine else "")
            if self._broken_since[0] != key:
                self._broken_since = (key, now)
            self._whole = ""
            long = now - self._broken_since[1] >= BROKEN_FOR
            if long and not self._book.known([key]):
                reason, instead = broken.error.message, live.sha if live else ""
                text = (
                    message.not_ready(broken.sha, broken.subject, reason, instead)
                    if broken.by_machine
                    else message.broken(broken.sha, broken.subject, broken.author, reason, instead)
                )
                told = self._book.unrepaired()
                if not told or not told[-1].same_reason(str(broken.error), text.body, broken.sha):
                    yield Alert(key, now, text)
        elif live is not None and live.sha != self._whole:
            if shas := [one.sha for one in self._book.unrepaired()]:
                text = message.repaired(shas, live.sha, live.subject, live.author)
                yield Alert(f"recovery:broken:{shas[-1]}", now, text)
            self._whole = live.sha


def _stand(run: Run) -> str:
    if run.state is RunState.RUNNING:
        done = number(one.kind for one in run.nodes if one.type != "operation")
        return f"is running: {done} of {run.planned_nodes} nodes"
    return "waits" if run.state is RunState.QUEUED else "is starting"
