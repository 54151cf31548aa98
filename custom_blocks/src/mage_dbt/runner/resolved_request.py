"""What a request comes to, decided once: its preview and its run are of one ResolvedRequest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mage_dbt.commits.profile import Profile
from mage_dbt.model.command import Command
from mage_dbt.model.commit import Commit
from mage_dbt.model.plan import Plan
from mage_dbt.model.refresh import RefreshOptions
from mage_dbt.model.request import Operation, Request
from mage_dbt.runner.rerun import Rerun
from mage_dbt.settings import Settings
from mage_dbt.workers.job import Job


@dataclass(frozen=True)
class ResolvedRequest:
    """The commit, and what dbt does on it."""

    commit: Commit
    command: Command
    variables: Mapping[str, Any]
    target: str
    caller: str
    notices: tuple[str, ...]
    """Warnings about the commit itself."""
    notes: tuple[str, ...] = ()
    """What was decided before dbt is asked."""
    follows: str | None = None
    """The run that this one runs again."""
    rerun: Rerun | None = None
    keep_views: bool = False
    """See `Request.keep_views`."""
    models: tuple[str, ...] = ()
    """See `Request.models`."""
    with_upstream: bool = False
    with_downstream: bool = False
    refresh: RefreshOptions | None = None
    """See `Job.refresh`."""
    restore_views: bool = False
    """See `Job.restore_views`."""
    drops_expired: bool = False
    """See `Job.drops_expired`."""
    failing_rows: int = 0
    """See `Job.failing_rows`."""
    failing_rows_role: str = ""
    """See `Job.failing_rows_role`."""
    is_full_build: bool = False
    """See `Request.is_full_build`."""
    zone: str = "UTC"
    """Time zone of the times in the worker's sentences."""

    def with_warnings(self, plan: Plan) -> Plan:
        """The plan with the warnings about the commit and those of its parse."""
        warnings = plan.parse_warnings.in_run_of(self.commit.parse_warnings)
        return replace(
            plan,
            warnings=(*self.notices, *plan.warnings, *warnings.sentences()),
            parse_warnings=warnings,
        )

    def job(self, folder: Path, profile: Profile, details: bool = False) -> Job:
        """The job of a worker that works in `folder`."""
        rerun = self.rerun or Rerun()
        if self.target != self.commit.target:
            profile = replace(profile, target=self.target)
        return Job(
            folder=folder,
            commit=self.commit.sha,
            project=self.commit.project,
            parsed=self.commit.parsed,
            dbt_arguments=profile.for_project(self.commit.project),
            command=self.command.name,
            select=self.command.select,
            exclude=self.command.exclude,
            flags=self.command.flags,
            variables=self.variables,
            caller=self.caller,
            nodes=rerun.nodes,
            planned=rerun.planned,
            gaps=rerun.gaps,
            begun_at=rerun.begun_at,
            resume=rerun.resume,
            left_out=rerun.left_out,
            models=self.models,
            with_upstream=self.with_upstream,
            with_downstream=self.with_downstream,
            added=rerun.added,
            notes=(*rerun.notes, *self.notes),
            target=self.target,
            zone=self.zone,
            keep_views=self.keep_views,
            fresh=bool(self.commit.clock),
            refresh=self.refresh,
            restore_views=self.restore_views,
            drops_expired=self.drops_expired,
            failing_rows=self.failing_rows,
            failing_rows_role=self.failing_rows_role,
            details=details,
        )


def refresh_options(settings: Settings, request: Request) -> RefreshOptions | None:
    """How the request is built aside and swapped in, or undone; None when it is neither."""
    refreshes = request.operation is Operation.FULL_REFRESH and not request.in_place
    if not refreshes and request.operation is not Operation.UNDO_REFRESH:
        return None
    return RefreshOptions(
        keep_days=settings.refresh_keep_days,
        rows_percent=(settings.refresh_rows_percent.least, settings.refresh_rows_percent.most),
        hold_seconds=settings.refresh_hold_minutes * 60 if request.show_first else 0,
        snapshot_seconds=settings.refresh_snapshot_seconds,
        lock_seconds=settings.refresh_lock_seconds,
        compare_seconds=settings.refresh_compare_seconds,
        override=request.override,
    )
