"""Alerts about runs that failed, and about their recovery."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

from mage_dbt.alerts import message
from mage_dbt.alerts.last_change import last_change
from mage_dbt.alerts.open_failures import OpenFailures
from mage_dbt.errors import LedgerUnreachable
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.alerts import Alert, AlertLedger
from mage_dbt.model.explanation import Explanation
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.request import Cause
from mage_dbt.model.run import Run
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)


class RunAlerts:
    """The alerts about one ledger's runs. `root` is the run that a run goes back to by reruns."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        ledger: Ledger,
        alerts: AlertLedger,
        explain: Callable[[str], Explanation],
    ) -> None:
        """`explain` says why a run failed."""
        self._settings = settings
        self._ledger = ledger
        self._alerts = alerts
        self._explain = explain
        self._open_failures = OpenFailures(ledger, alerts)
        self._zone = ZoneInfo(settings.daily_build_timezone)
        self._sync = settings.dbt_metric_dir or home.sync

    def failures(self, run: Run, root: Run, has_channels: bool) -> Iterator[Alert]:
        """The alert about a run that failed, when nobody watched it and it brings something new."""
        key = f"failure:{run.id}"
        watched = root.morning is None and root.cause != Cause.API and run.cause != Cause.API
        if watched or self._alerts.known([key]):
            return
        earlier = self._open_failures.same_as(run, root, has_channels)
        if earlier is not None and not run.morning:
            return  # a daily build always has its alert: silence would mean that it is green
        node = self._changed_node(run)
        change = None
        if node is not None and node.path:
            subdir = self._settings.dbt_metric_subdir
            change = last_change(self._sync, run.commit, node.path, subdir)
        name, link = node.name if node else "", run_page(self._settings, run)
        why = self._explanation(run)
        text = message.failure(run, root, change, name, link, self._zone, earlier, why)
        yield Alert(key, run.asked_at, text, run.id, root.id)

    def _explanation(self, run: Run) -> Explanation | None:
        """Why the run failed; None when it cannot be explained: the alert goes out all the same."""
        try:
            return self._explain(run.id)
        except LedgerUnreachable:
            raise  # the next poll tries all of it again
        except Exception:
            log.exception("alerts: run %s is not explained", run.id)
            return None

    def recoveries(self, run: Run, root: Run) -> Iterator[Alert]:
        """The alerts about open failures that have recovered with `run`."""
        for failed, how in self._open_failures.recovered_by(run, root):
            key = f"recovery:failure:{failed.id}"
            if self._alerts.known([key]):
                continue
            commit = last_change(self._sync, run.commit)
            text = message.recovery(
                run,
                self._ledger.run(self._alerts.root(failed.id)),
                how,
                commit.author if commit else "",
                run_page(self._settings, run),
                self._zone,
            )
            yield Alert(key, run.asked_at, text, run.id, root.id)

    def _changed_node(self, run: Run) -> PlannedNode | None:
        """The first node that failed; for a test the model that it tests, when that is planned."""
        failed = message.first_failed(run)
        planned = {node.node: node for node in self._ledger.plan(run).nodes}
        node = planned.get(failed.node) if failed else None
        if node is None or node.type not in ("test", "unit_test"):
            return node
        tested = [planned[parent] for parent in node.depends_on if parent in planned]
        return tested[0] if tested else node


def run_page(settings: Settings, run: Run) -> str:
    """The address of a run's page. It is there without Mage too, and leads on to Mage's."""
    return f"{settings.page_address}/runs/{run.id}"
