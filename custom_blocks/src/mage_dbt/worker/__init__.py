"""The worker: the one place where dbt runs.

A worker plans a job (dbt parses the commit and answers the selection), then waits; told to start,
it executes what it planned and appends what happens to `events.jsonl` in the run's folder. The file
outlives the runner, so a restart loses nothing that dbt had said. How dbt gets going (warm, forked
from a parent that has parsed already; cold, in a new process) is the implementation's matter.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from mage_dbt.lists import short_list
from mage_dbt.plan import Plan
from mage_dbt.variables import from_json, to_json
from mage_dbt.windows import Window

EVENTS_FILE = "events.jsonl"
JOB_FILE = "job.json"

DESCRIBE = "describe"
"""A job's command that runs nothing: it tells what dbt makes of the commit (`worker.describe`)."""

SHORTCUTS = "RUNNER_DBT_SHORTCUTS"
"""The setting that is passed on to dbt's processes, where it is false (`worker.patches`)."""

VERBS = {"has": "have", "is": "are", "was": "were", "does": "do"}
"""Of sentences on names: for one, and for several."""


@dataclass(frozen=True)
class LeftOut:
    """Nodes that a rerun leaves out, unless something else brings them into its plan."""

    nodes: Mapping[str, str]
    """Unique ids with names."""
    how: str
    """A sentence with `{names}`, and a verb of VERBS where it needs one."""

    def told(self, planned: Collection[str]) -> str:
        """The sentence, of those that are not `planned`; empty when all are."""
        names = [name for one, name in self.nodes.items() if one not in planned]
        if not names:
            return ""
        how = self.how
        for verb, plural in VERBS.items():
            how = how.replace(f"{{{verb}}}", verb if len(names) == 1 else plural)
        return how.replace("{names}", short_list(names))


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
    """For a rerun: unique ids with why each runs; those that no longer exist are left out. Beside
    them runs what is stale because of them; see `worker.chosen`."""
    planned: tuple[str, ...] = ()
    """For a rerun: unique ids of all that was planned so far of what it runs again."""
    gaps: Mapping[str, tuple[Window, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """For a rerun: the windows that microbatch models among `nodes` have not filled."""
    begun_at: datetime | None = None
    """For a rerun: when the first run began, which is where its newest batch ended."""
    left_out: tuple[LeftOut, ...] = ()
    models: tuple[str, ...] = ()
    """Instead of `select`: names or unique ids, each of one node."""
    with_upstream: bool = False
    with_downstream: bool = False
    added: tuple[str, ...] = ()
    """For a rerun: the files that came since the first run's commit."""
    notes: tuple[str, ...] = ()
    """For the plan: what was decided before dbt was asked."""
    target: str = ""
    zone: str = "UTC"
    """The team's time zone, of the times in sentences."""
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
            "variables": to_json(self.variables),
            "caller": self.caller,
            "nodes": dict(self.nodes),
            "planned": list(self.planned),
            "gaps": {
                node: [one.to_json() for one in windows] for node, windows in self.gaps.items()
            },
            "begun_at": self.begun_at.isoformat() if self.begun_at else None,
            "left_out": [{"nodes": dict(one.nodes), "how": one.how} for one in self.left_out],
            "models": list(self.models),
            "with_upstream": self.with_upstream,
            "with_downstream": self.with_downstream,
            "added": list(self.added),
            "notes": list(self.notes),
            "target": self.target,
            "zone": self.zone,
            "keep_views": self.keep_views,
            "fresh": self.fresh,
            "details": self.details,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / JOB_FILE).write_text(json.dumps(data, indent=2))

    @classmethod
    def read(cls, folder: Path) -> Job:
        data = json.loads((folder / JOB_FILE).read_text())
        lists = [
            *("dbt_arguments", "select", "exclude", "flags", "added", "notes"),
            *("planned", "models"),
        ]
        begun_at = data["begun_at"]
        return cls(
            folder=folder,
            commit=data["commit"],
            project=Path(data["project"]),
            parsed=Path(data["parsed"]),
            command=data["command"],
            variables=from_json(data["variables"]),
            caller=data["caller"],
            nodes=data["nodes"],
            gaps={
                node: tuple(Window.from_json(one) for one in windows)
                for node, windows in data["gaps"].items()
            },
            begun_at=datetime.fromisoformat(begun_at) if begun_at else None,
            left_out=tuple(LeftOut(**one) for one in data["left_out"]),
            with_upstream=data["with_upstream"],
            with_downstream=data["with_downstream"],
            target=data["target"],
            zone=data["zone"],
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
