"""The worker: the one place where dbt runs.

A worker plans a job (dbt parses the commit and answers the selection), then waits; told to start,
it executes what it planned and appends what happens to `events.jsonl` in the run's folder. The file
outlives the runner, so a restart loses nothing that dbt had said. How dbt gets going (warm, forked
from a parent that has parsed already; cold, in a new process) is the implementation's matter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from mage_dbt.plan import Plan

EVENTS_FILE = "events.jsonl"
JOB_FILE = "job.json"

DESCRIBE = "describe"
"""A job's command that runs nothing: it tells what dbt makes of the commit (`worker.describe`)."""


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to know; written to `job.json` in the run's folder."""

    folder: Path
    """The run's own folder: dbt's target and log, the events."""
    commit: str
    project: Path
    parsed: Path
    """The commit's manifest and partial parse, copied from, never written."""
    dbt_arguments: tuple[str, ...]
    """Where project, profile and target are, as dbt's own flags."""
    command: str
    select: tuple[str, ...]
    exclude: tuple[str, ...]
    flags: tuple[str, ...]
    variables: Mapping[str, Any]
    caller: str = ""
    """Who asked; the warehouse's sessions say so."""
    nodes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Instead of `select`: unique ids with why each runs, for a rerun. What depends on them runs
    too; those that no longer exist are left out."""
    added: tuple[str, ...] = ()
    """For a rerun: the files that came since the first run's commit."""
    notes: tuple[str, ...] = ()
    """For the plan: what was decided before dbt was asked."""
    target: str = ""
    keep_views: bool = False
    """Whether a full refresh that drops views which it does not rebuild is refused."""
    fresh: bool = False
    """Whether dbt parses all of it for this job, as its configuration reads the clock."""
    details: bool = False
    """Whether somebody looks at the plan: then it also has row estimates and stale sources."""

    @property
    def run(self) -> str:
        """The run's id, which its folder is named for."""
        return self.folder.name

    def write(self) -> None:
        data = {
            "commit": self.commit,
            "project": str(self.project),
            "parsed": str(self.parsed),
            "dbt_arguments": list(self.dbt_arguments),
            "command": self.command,
            "select": list(self.select),
            "exclude": list(self.exclude),
            "flags": list(self.flags),
            "variables": dict(self.variables),
            "caller": self.caller,
            "nodes": dict(self.nodes),
            "added": list(self.added),
            "notes": list(self.notes),
            "target": self.target,
            "keep_views": self.keep_views,
            "fresh": self.fresh,
            "details": self.details,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / JOB_FILE).write_text(json.dumps(data, indent=2))

    @classmethod
    def read(cls, folder: Path) -> Job:
        data = json.loads((folder / JOB_FILE).read_text())
        lists = ("dbt_arguments", "select", "exclude", "flags", "added", "notes")
        return cls(
            folder=folder,
            commit=data["commit"],
            project=Path(data["project"]),
            parsed=Path(data["parsed"]),
            command=data["command"],
            variables=data["variables"],
            caller=data["caller"],
            nodes=data["nodes"],
            target=data["target"],
            keep_views=data["keep_views"],
            fresh=data["fresh"],
            details=data["details"],
            **{name: tuple(data[name]) for name in lists},
        )


class Worker(Protocol):
    """One job's worker. Calls come in this order: plan, hold, start, wait; stop at any time."""

    how: str
    """After `plan`: `warm`, or `cold`, with the reason behind a colon where there is one."""

    def plan(self) -> Plan:
        """What will run. Raises RequestError when dbt refuses the job, WorkspaceError otherwise."""

    def hold(self, descriptor: int) -> None:
        """Keeps what this descriptor stands for open until the worker's own end."""

    def start(self) -> None:
        """Executes the plan; what happens is appended to the events file."""

    def alive(self) -> bool:
        """Whether dbt is still at work."""

    def stop(self) -> None:
        """Ends dbt and its SQL, gently first; returns when it is gone, within 5 s."""

    def ending(self) -> str:
        """How dbt's process ended, in words, once it is not alive."""

    def close(self) -> None:
        """Waits for the end and gives back what was open."""
