"""The watcher: finds in the ledger what has happened, writes an alert for each event, delivers it.

A failure has an alert when nobody was watching the run: for a daily build, a run that came through
the API, and any rerun of one of these. Whoever starts a run in Mage or with the tool sees its end
there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mage_dbt.alerts.channels import ChannelFile
from mage_dbt.alerts.column_alerts import ColumnAlerts
from mage_dbt.alerts.commit_alerts import CommitAlerts
from mage_dbt.alerts.delivery import Deliveries, RetryPolicy
from mage_dbt.alerts.overdue_alerts import OverdueAlerts
from mage_dbt.alerts.run_alerts import RunAlerts
from mage_dbt.commits.broken import Broken
from mage_dbt.errors import LedgerUnreachable
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.alerts import Alert, AlertLedger
from mage_dbt.model.alert import AlertStatus
from mage_dbt.model.commit import Commit
from mage_dbt.model.explanation import Explanation
from mage_dbt.model.run import Run, RunState
from mage_dbt.model.survey import Survey
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

NEWS_FOR = timedelta(hours=12)
"""A run that ended longer ago has no alert: an old ledger must not send its history."""

OVERLAP = timedelta(seconds=60)
"""A row may be written this long after the time that it bears."""


class Watcher:
    """One runner's watcher. One thread calls `poll`, which does everything."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        ledger: Ledger,
        commits: Callable[[], tuple[Commit | None, Broken | None]],
        survey: Callable[[], Survey | None],
        explain: Callable[[str], Explanation],
        policy: RetryPolicy | None = None,
    ) -> None:
        """`commits` returns the live commit and the broken one, `survey` the latest survey,
        `explain` why a run failed."""
        self._ledger = ledger
        self._file = ChannelFile(
            settings.alert_urls_file or home.alert_urls, home.api_token.read_text()
        )
        self._alerts = AlertLedger(ledger)
        self._of_runs = RunAlerts(settings, home, ledger, self._alerts, explain)
        self._of_overdue_builds = OverdueAlerts(settings, home, ledger, self._alerts, commits)
        self._of_commits = CommitAlerts(self._alerts, commits)
        self._of_columns = ColumnAlerts(self._alerts, commits, survey)
        self._deliveries = Deliveries(self._alerts, policy)
        self._resumed = False
        self._started: datetime | None = None
        self._polled: datetime | None = None
        self._ended: set[str] = set()
        """Runs that ended shortly before the last poll; their alerts are written."""
        self._status = AlertStatus()

    def status(self) -> AlertStatus:
        """Where alerts go, and which have not been delivered yet; never an address."""
        return self._status

    def poll(self, now: datetime | None = None) -> None:
        """Writes new alerts, and makes the attempts that are due.

        Raises LedgerUnreachable; the next poll continues where this one stopped.
        """
        now = now or datetime.now(UTC)
        self._started = self._started or now
        file = self._file.read()
        self._status = AlertStatus(
            tuple(file.report(self._file.path)), tuple(self._deliveries.problems())
        )
        try:
            if not self._resumed:
                self._deliveries.resume()
                self._resumed = True
            if file.unreadable:
                return  # nobody knows where alerts go, so all of it waits
            digests = tuple(file.by_digest)
            for alert in self._new_alerts(now, bool(digests)):
                channels = () if alert.silent else digests
                self._write(replace(alert, at=now, channels=channels))
            self._deliveries.poll(file.by_digest)
        except LedgerUnreachable:
            self._resumed = False  # a row may be written although no answer came
            raise

    def _write(self, alert: Alert) -> None:
        if self._alerts.add(alert):
            log.info("alert %s: %s", alert.key, alert.message.title)
            self._deliveries.add(alert)

    def _new_alerts(self, now: datetime, has_channels: bool) -> Iterator[Alert]:
        since = min(self._polled or now - NEWS_FOR + OVERLAP, now) - OVERLAP
        ended = self._alerts.ended_since(since)
        for run in ended:
            if run in self._ended:
                continue
            try:
                yield from self._of_run(self._ledger.run(run), has_channels)
            except LedgerUnreachable:
                raise
            except Exception:  # a fault of ours in one run must not silence all others
                log.exception("alerts: run %s", run)
        yield from self._of_overdue_builds.new(now, self._started or now)
        yield from self._of_commits.new(now)
        yield from self._of_columns.new(now)
        self._ended, self._polled = set(ended), now

    def _of_run(self, run: Run, has_channels: bool) -> Iterator[Alert]:
        root = self._ledger.run(self._alerts.root(run.id))
        yield from self._of_runs.recoveries(run, root)
        if run.state is RunState.SUCCESS:
            yield from self._of_overdue_builds.recoveries(run, root)
        elif run.state is RunState.ERROR or run.stopped_with_its_runner:
            yield from self._of_runs.failures(run, root, has_channels)
