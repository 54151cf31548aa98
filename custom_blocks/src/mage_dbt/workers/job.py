"""A job: everything that a worker must know of one run, written to the run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mage_dbt.base.lists import short_list
from mage_dbt.model import codec
from mage_dbt.model.refresh import RefreshOptions
from mage_dbt.model.variables import from_json, to_json
from mage_dbt.model.windows import Window

EVENTS_FILE = "events.jsonl"
JOB_FILE = "job.json"

DESCRIBE = "describe"
"""Command of a job that runs nothing: the worker answers what dbt makes of the commit."""

SURVEY = "survey"
"""Command of a job that runs nothing: the worker answers what the warehouse holds beside what the
commit's models say (`dbt/survey.py`)."""

DOCS = "docs"
"""Command of a job that runs nothing: the worker writes dbt's documentation of the commit into the
commit's folder (`dbt/docs.py`)."""

VERBS = {"has": "have", "is": "are", "was": "were", "does": "do"}
"""Verbs of sentences on names: for one name, and for several."""


@dataclass(frozen=True)
class LeftOut:
    """Nodes that a rerun leaves out, unless something else brings them into its plan."""

    nodes: Mapping[str, str]
    """Names by unique id."""
    how: str
    """A sentence with `{names}`, and with a verb of VERBS where it needs one."""

    def sentence(self, planned: Collection[str]) -> str:
        """The sentence on those that are not `planned`; empty when all are."""
        names = [name for node, name in self.nodes.items() if node not in planned]
        if not names:
            return ""
        how = self.how
        for verb, plural in VERBS.items():
            how = how.replace(f"{{{verb}}}", verb if len(names) == 1 else plural)
        return how.replace("{names}", short_list(names))


@dataclass(frozen=True)
class Job:
    """Everything that a worker must know; stored as `job.json` in the run's folder.

    A field of text, numbers, or tuples and mappings of these needs no other code. A field of
    another type needs an entry in `_READ` and, where JSON has no such value, in `_plain`.
    """

    folder: Path
    """The run's own folder: dbt's target and log, the events."""
    commit: str
    project: Path
    parsed: Path
    """The commit's manifest and partial parse. They are copied, and never written."""
    dbt_arguments: tuple[str, ...]
    """Where project, profile and target are, as dbt's own flags."""
    command: str
    select: tuple[str, ...]
    exclude: tuple[str, ...]
    flags: tuple[str, ...]
    variables: Mapping[str, Any]
    caller: str = ""
    """Who asked; the run's database sessions show it."""
    nodes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """For a rerun: why each node runs, by unique id. Nodes that no longer exist are left out. What
    is stale because of them runs too; see `dbt/plan/chosen.py`."""
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
    """For a rerun: the files that were added since the first run's commit."""
    notes: tuple[str, ...] = ()
    """For the plan: what was decided before dbt was asked."""
    target: str = ""
    zone: str = "UTC"
    """The team's time zone, of the times in sentences."""
    keep_views: bool = False
    """Whether a full refresh that drops views which it does not rebuild is refused."""
    fresh: bool = False
    """Whether dbt parses everything for this job, because its configuration reads the clock."""
    refresh: RefreshOptions | None = None
    """How a refresh is built aside and swapped in, or undone; None for every other job, and for a
    full refresh in place."""
    restore_views: bool = False
    """Whether views that dbt drops along are put back."""
    resume: str = ""
    """For the rerun of a refresh: the run whose batches, built aside, are gone on with."""
    done: tuple[str, ...] = ()
    """The steps of its refresh that the ledger has, for who cleans up without the run's files."""
    drops_expired: bool = False
    """Whether former relations whose time is over are dropped at its end."""
    failing_rows: int = 0
    """How many rows of each failing test are kept."""
    failing_rows_role: str = ""
    """The role that reads them; empty for the profile's own."""
    details: bool = False
    """Whether somebody reads the plan: then it also has row estimates and stale sources. For
    DESCRIBE, whether the text of `graph.json` is wanted too."""

    @property
    def run(self) -> str:
        """The run's id, which is the name of its folder."""
        return self.folder.name

    def write(self) -> None:
        """Writes it to its folder, which it makes."""
        data = {
            attribute.name: getattr(self, attribute.name)
            for attribute in fields(self)
            if attribute.name != "folder"
        }
        data["variables"] = to_json(self.variables)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / JOB_FILE).write_text(json.dumps(data, indent=2, default=_plain))

    @classmethod
    def read(cls, folder: Path) -> Job:
        """The job of a run's folder. Raises OSError, ValueError, KeyError or TypeError."""
        data = LATER | json.loads((folder / JOB_FILE).read_text())
        data |= {name: read(data[name]) for name, read in _READ.items()}
        lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
        return cls(folder=folder, **data | lists)


def _plain(value: object) -> object:
    """A value that JSON does not have, as one that it has."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Window):
        return value.to_json()
    if isinstance(value, LeftOut):
        return {"nodes": dict(value.nodes), "how": value.how}
    if isinstance(value, RefreshOptions):
        return codec.plain(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


LATER: dict[str, Any] = {"refresh": None}
"""Fields with an entry in `_READ` that jobs of an earlier version lack."""


_READ: dict[str, Callable[[Any], Any]] = {
    "project": Path,
    "parsed": Path,
    "variables": from_json,
    "begun_at": lambda text: datetime.fromisoformat(text) if text else None,
    "gaps": lambda gaps: {
        node: tuple(Window.from_json(window) for window in windows)
        for node, windows in gaps.items()
    },
    "refresh": lambda options: codec.read(RefreshOptions, options) if options else None,
    "left_out": lambda left_out: tuple(LeftOut(**entry) for entry in left_out),
}
"""How each field is read back whose type JSON does not have."""
