"""A Plan: the nodes a run will execute, in order, with what it touches.

The list is dbt's own answer to the request's selection, on one commit. Dry run prints it, the form
previews it, and the run that follows executes it and is held to it: a planned node without a result
is a failure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from mage_dbt import counts
from mage_dbt.counts import Kind
from mage_dbt.parse_warnings import ParseWarnings
from mage_dbt.variables import to_json


@dataclass(frozen=True)
class PlannedNode:
    """One node of a plan."""

    node: str
    """dbt's unique id."""
    name: str
    type: str
    materialized: str = ""
    relation: str = ""
    """The table or view it writes, as dbt spells it; empty for a test."""
    writes: tuple[str, ...] = ()
    """All that it writes, as the server knows it: the relation, a test's stored failures."""
    reads: tuple[str, ...] = ()
    """The tables and views of dbt-metric that it reads, as the server knows them; not sources."""
    depends_on: tuple[str, ...] = ()
    """Unique ids of what it reads."""
    fqn: str = ""
    path: str = ""
    """Its file, from the folder of dbt_project.yml."""
    why: str = ""
    """Why it is in the plan: asked for, downstream of another, failed in an earlier run."""
    estimated_seconds: float | None = None
    """The median of its last results; None when there is none, or when nobody looks."""
    rows: int | None = None
    """The database's estimate of the rows its relation has now; None when it has none."""

    @property
    def kind(self) -> Kind:
        return self.type, self.materialized

    @property
    def may_have_batches(self) -> bool:
        """Whether it may be built batch by batch."""
        return self.materialized == "incremental"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PlannedNode:
        known = {one.name: data[one.name] for one in fields(cls) if one.name in data}
        lists = {name: tuple(known.get(name, ())) for name in ("writes", "reads", "depends_on")}
        return cls(**(known | lists))

    def to_json(self) -> dict[str, Any]:
        data = {one.name: getattr(self, one.name) for one in fields(self)}
        return data | {name: list(data[name]) for name in ("writes", "reads", "depends_on")}


@dataclass(frozen=True)
class Differs:
    """What a commit differs in from the newest ready one, by the files of its models."""

    newest: str
    behind: int | None
    """Commits between the two; None when git cannot count them."""
    changed: tuple[str, ...] = ()
    only_here: tuple[str, ...] = ()
    only_in_newest: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "newest": self.newest,
            "behind": self.behind,
            "changed": list(self.changed),
            "only_here": list(self.only_here),
            "only_in_newest": list(self.only_in_newest),
        }


@dataclass(frozen=True)
class Plan:
    """What a run will do, on one commit."""

    commit: str
    nodes: tuple[PlannedNode, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What was decided for the reader, such as what a rerun leaves out."""
    command: str = ""
    flags: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    target: str = ""
    estimated_seconds: float | None = None
    """From the first node's start to the last one's end; of the nodes whose time is known."""
    waits_for: tuple[str, ...] = ()
    """What a run of it would wait for now, a sentence each."""
    differs: Differs | None = None
    """What the commit differs in from the newest; None for the newest itself."""
    hooks: int = 0
    """How many hooks of the project dbt runs around the nodes."""
    threads: int = 1
    """How many nodes dbt runs at once, by the profile."""
    parse_warnings: ParseWarnings = ParseWarnings()
    """What dbt warned of while it parsed the graph that runs."""

    @property
    def counted(self) -> int:
        """How many nodes there are as dbt counts them, without the hooks."""
        return counts.number(one.kind for one in self.nodes)

    @property
    def writes(self) -> frozenset[str]:
        """The relations it creates, replaces or fills."""
        return frozenset(name for one in self.nodes for name in one.writes)

    @property
    def reads(self) -> frozenset[str]:
        """The relations it reads and does not write."""
        return frozenset(name for one in self.nodes for name in one.reads) - self.writes

    @property
    def digest(self) -> str:
        """The same for the same work: nodes in order, commit, command, variables, target (hex)."""
        parts = [self.commit, *self.what().values(), [one.node for one in self.nodes]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def what(self) -> dict[str, Any]:
        """What dbt is told beside the nodes; part of the digest."""
        return {
            "command": self.command,
            "flags": list(self.flags),
            "variables": to_json(self.variables),
            "target": self.target,
        }

    def to_json(self) -> dict[str, Any]:
        known = sum(
            one.estimated_seconds is not None and counts.counts(one.kind) for one in self.nodes
        )
        return {
            "commit": self.commit,
            "digest": self.digest,
            **self.what(),
            "nodes": [one.to_json() for one in self.nodes],
            "counted": self.counted,
            "hooks": self.hooks,
            "writes": sorted(self.writes),
            "estimated_seconds": self.estimated_seconds,
            "estimated_nodes": known,
            "waits_for": list(self.waits_for),
            "differs": self.differs.to_json() if self.differs else None,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "parse_warnings": self.parse_warnings.to_json(),
        }
