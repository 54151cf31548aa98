"""The metrics for Prometheus at /metrics. No label takes a value of a caller's."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mage_dbt.errors import LedgerUnreachable
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.listing import RunFilter
from mage_dbt.model.run import Run, RunState
from mage_dbt.runner.service import Runner

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LEDGER_SECONDS = 2.0
"""A scrape must not wait longer for PostgreSQL: Prometheus gives up after 10 s."""

LOOK_BACK = timedelta(minutes=1)
"""A run's row is written a moment after the time that it names."""

PAGE = 500

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"})

RUN_BUCKETS = (5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)

HTTP_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)


class Metrics:
    """Counts from the runner's start on; each scrape reads the ledger's new rows."""

    def __init__(self, runner: Runner, ledger: Ledger) -> None:
        self._runner = runner
        self._ledger = ledger
        self._scraping = threading.Lock()
        self._since = datetime.now(UTC)
        self._begun = False
        self._seen: dict[str, Run] = {}
        """Runs that are not over, and the newest finished ones, so that none counts twice."""
        self._registry = registry = CollectorRegistry()
        self._http = Counter(
            "mage_dbt_http_requests",
            "Calls of the HTTP API.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._http_seconds = Histogram(
            "mage_dbt_http_request_seconds",
            "Seconds until a call was answered whole.",
            ["route"],
            buckets=HTTP_BUCKETS,
            registry=registry,
        )
        self._runs = Counter(
            "mage_dbt_runs",
            "Runs that are over, since the runner began.",
            ["operation", "cause", "state"],
            registry=registry,
        )
        self._run_seconds = Histogram(
            "mage_dbt_run_seconds",
            "Seconds from a run's first SQL to its end.",
            ["operation", "state"],
            buckets=RUN_BUCKETS,
            registry=registry,
        )
        self._now = Gauge(
            "mage_dbt_runs_now", "Runs that are not over, by state.", ["state"], registry=registry
        )
        self._daily_build_age = Gauge(
            "mage_dbt_morning_success_age_seconds",
            "Seconds since a daily build, or a rerun of one, ended with every node passed.",
            registry=registry,
        )
        self._commit = Gauge(
            "mage_dbt_commit",
            "The live commit of dbt-metric: always 1, the facts are its labels.",
            ["sha", "dbt_version", "adapter", "target"],
            registry=registry,
        )
        self._commit_age = Gauge(
            "mage_dbt_commit_age_seconds", "Seconds since the live commit.", registry=registry
        )
        self._broken = Gauge(
            "mage_dbt_commit_broken", "1 while the newest commit is broken.", registry=registry
        )
        self._ledger_up = Gauge(
            "mage_dbt_ledger_up", "1 while PostgreSQL answers.", registry=registry
        )

    def answered(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        """Counts one call."""
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._http.labels(method, route, status).inc()
        self._http_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """The metrics as text. While PostgreSQL is away, `mage_dbt_ledger_up` is 0."""
        with self._scraping:
            up = self._ledger.answers(LEDGER_SECONDS)
            if up:
                try:
                    self._take_up(self._ledger)
                except LedgerUnreachable:
                    up = False
            self._ledger_up.set(up)
            self._look_at_commits(self._runner)
            return generate_latest(self._registry)

    def _take_up(self, ledger: Ledger) -> None:
        now = datetime.now(UTC)
        if not self._begun:
            self._seen = {run.id: run for run in ledger.unfinished()}
            self._begun = True
        known = set(self._seen)
        for run in _asked_since(ledger, self._since - LOOK_BACK):
            self._note(run)
            known.discard(run.id)
        unfinished = [run for run in known if not self._seen[run].state.final]
        for run in ledger.heads(unfinished):
            self._note(run)
        self._since = now
        self._seen = {
            run_id: run
            for run_id, run in self._seen.items()
            if not run.state.final or run.asked_at >= now - 2 * LOOK_BACK
        }
        for state in RunState:
            if not state.final:
                here = sum(run.state is state for run in self._seen.values())
                self._now.labels(str(state)).set(here)
        if success := ledger.last_daily_build_success():
            self._daily_build_age.set((now - success).total_seconds())

    def _note(self, run: Run) -> None:
        before = self._seen.get(run.id)
        self._seen[run.id] = run
        if not run.state.final or (before is not None and before.state.final):
            return
        self._runs.labels(run.operation, run.cause, str(run.state)).inc()
        if run.seconds is not None:
            self._run_seconds.labels(run.operation, str(run.state)).observe(run.seconds)

    def _look_at_commits(self, runner: Runner) -> None:
        self._broken.set(runner.commits.broken is not None)
        self._commit.clear()
        live = runner.commits.live
        if live is not None:
            self._commit.labels(live.sha, live.dbt_version, live.adapter, live.target).set(1)
            committed = datetime.fromisoformat(live.committed_at)
            self._commit_age.set((datetime.now(UTC) - committed).total_seconds())


def _asked_since(ledger: Ledger, since: datetime) -> Iterator[Run]:
    """The runs asked for since then, a page at a time."""
    wanted = RunFilter(since=since)
    while True:
        page = ledger.page(wanted, PAGE)
        yield from page
        if len(page) < PAGE:
            return
        wanted = RunFilter(since=since, before=page[-1].id)
