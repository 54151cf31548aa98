"""Finds out how the workspace is; it answers while PostgreSQL is away too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from mage_dbt.commits.broken import Broken
from mage_dbt.commits.store import Commits
from mage_dbt.errors import LedgerUnreachable
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.model.alert import AlertStatus
from mage_dbt.model.commit import Commit
from mage_dbt.model.counts import in_words
from mage_dbt.model.now import MageState, Preparing
from mage_dbt.model.run import Run
from mage_dbt.model.status import ActiveRun, BrokenCommit, LiveCommit, Status
from mage_dbt.model.survey import Survey
from mage_dbt.runner.schedule import DailySchedule
from mage_dbt.settings import Settings


def status_of(
    settings: Settings,
    home: Home,
    commits: Commits,
    ledger: Ledger,
    schedule: DailySchedule,
    active: Sequence[str],
    alerts: AlertStatus,
    survey: Survey | None,
    mage: MageState | None,
) -> Status:
    """The status now; `active` are the ids of runs that are not over."""
    now = datetime.now(UTC)
    try:
        holds = schedule.current(now)
        coming = holds.coming(now, schedule.taken, 1)
        last_broken, ledger_error = ledger.last_broken_commit(), ""
        active_runs = tuple(map(_active, ledger.heads(active)))
    except LedgerUnreachable as error:
        # Nothing is asked a second time: each question to a hanging server takes ten seconds.
        last_broken, ledger_error = None, error.message
        holds = schedule.remembered(now)
        coming = holds.coming(now, (), 1)
        active_runs = tuple(ActiveRun(run) for run in active)
    sync = _read_json((settings.dbt_metric_dir or home.sync) / "status.json")
    processes = _read_json(home.processes)
    return Status(
        live=live_of(commits.live, commits.behind()) if commits.live else None,
        published=commits.published(),
        preparing=commits.preparing or None,
        preparing_commit=preparing_of(commits, holds.daily_build.zone),
        broken=broken_of(commits.broken) if commits.broken else None,
        last_broken=last_broken,
        sync=sync if isinstance(sync, dict) else None,
        next_morning=coming[0] if coming else None,
        active_runs=active_runs,
        ledger_error=ledger_error,
        processes=tuple(processes) if isinstance(processes, list) else None,
        alerts=alerts,
        survey=survey,
        mage=mage,
        schedule=holds,
    )


def preparing_of(commits: Commits, zone: ZoneInfo) -> Preparing | None:
    """The commit that is being made ready now, with times in `zone`."""
    attempt = commits.attempt
    if attempt is None:
        return None
    return Preparing(
        sha=attempt.sha,
        subject=attempt.subject,
        author=attempt.author,
        since=datetime.fromtimestamp(attempt.since, zone),
        left_seconds=commits.preparing_left(),
    )


def live_of(commit: Commit, behind: int | None) -> LiveCommit:
    """The live commit as `status` shows it."""
    return LiveCommit(
        sha=commit.sha,
        subject=commit.subject,
        author=commit.author,
        committed_at=commit.committed_at,
        models=sum(model.type == "model" for model in commit.models),
        holds=in_words((node.type, "") for node in commit.nodes if node.enabled),
        dbt_version=commit.dbt_version,
        adapter=commit.adapter,
        target=commit.target,
        notes=commit.notes,
        parse_warnings=commit.parse_warnings,
        behind=behind,
    )


def broken_of(commit: Broken) -> BrokenCommit:
    """The broken commit as `status` shows it."""
    return BrokenCommit(
        sha=commit.sha,
        subject=commit.subject,
        author=commit.author,
        message=commit.error.message,
        hint=commit.error.hint,
        since=commit.since,
        by_machine=commit.by_machine,
    )


def _active(run: Run) -> ActiveRun:
    since = run.started_at or run.asked_at
    return ActiveRun(run.id, run.title, run.state, since, run.detail, run.caller)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None
