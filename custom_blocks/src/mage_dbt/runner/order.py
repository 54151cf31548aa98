"""An Order: what a request comes to, decided once. Its preview and its run are of one order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mage_dbt.command import Command
from mage_dbt.commit import Commit
from mage_dbt.plan import Plan
from mage_dbt.profile import Profile
from mage_dbt.runner.rerun import Rerun
from mage_dbt.worker import Job


@dataclass(frozen=True)
class Order:
    """The commit, and what dbt is told to do on it."""

    commit: Commit
    command: Command
    variables: Mapping[str, Any]
    target: str
    caller: str
    notices: tuple[str, ...]
    """What is to be said of the commit itself."""
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
    zone: str = "UTC"
    """Of the times in what its worker says."""

    def told_with(self, plan: Plan) -> Plan:
        """The plan, with what is to be said of the commit and of what dbt parsed for it."""
        warnings = plan.parse_warnings.in_run_of(self.commit.parse_warnings)
        return replace(
            plan,
            warnings=(*self.notices, *plan.warnings, *warnings.sentences()),
            parse_warnings=warnings,
        )

    def job(self, folder: Path, profile: Profile, details: bool = False) -> Job:
        """For a worker that works in `folder`."""
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
            details=details,
        )
