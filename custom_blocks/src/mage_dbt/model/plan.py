"""A Plan: the nodes a run will execute, in order, with what it touches.

dbt itself answers the request's selection, on one commit. A dry run prints the list, the form
previews it, and the run executes it. A planned node without a result is a failure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mage_dbt.model import codec, counts
from mage_dbt.model.counts import Kind
from mage_dbt.model.parse_warnings import ParseWarnings
from mage_dbt.model.refresh import Preview
from mage_dbt.model.variables import Variables, to_json


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
    """Every relation it writes, by the server's names: its own, and a test's stored failures."""
    reads: tuple[str, ...] = ()
    """The project's relations that it reads, by the server's names; no sources."""
    depends_on: tuple[str, ...] = ()
    """The unique ids of the nodes it reads."""
    fqn: str = ""
    path: str = ""
    """Its file, relative to the folder of dbt_project.yml."""
    why: str = ""
    """Why it is in the plan: selected, downstream of another, failed in an earlier run."""
    estimated_seconds: float | None = None
    """The median of its last results; None without results, and outside previews."""
    rows: int | None = None
    """The database's estimate of its relation's rows; None when there is none."""

    @property
    def kind(self) -> Kind:
        return self.type, self.materialized

    @property
    def may_have_batches(self) -> bool:
        """Whether dbt may build it batch by batch."""
        return self.materialized == "incremental"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PlannedNode:
        return codec.read(cls, data)

    @classmethod
    def all_from_json(cls, data: str | Sequence[Mapping[str, Any]]) -> tuple[PlannedNode, ...]:
        """The nodes of a JSON array, or of its plain data."""
        return codec.read_all(cls, data)

    @classmethod
    def all_to_json(cls, nodes: Sequence[PlannedNode]) -> list[dict[str, Any]]:
        return codec.plain_all(cls, nodes)

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self)


@dataclass(frozen=True)
class Differs:
    """The differences of a commit from the newest ready one, by the files of its models."""

    newest: str
    behind: int | None
    """Commits between the two; None when git cannot count them."""
    changed: tuple[str, ...] = ()
    only_here: tuple[str, ...] = ()
    only_in_newest: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The work of a run, on one commit."""

    commit: str
    nodes: tuple[PlannedNode, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Decisions that a reader should know, such as what a rerun leaves out."""
    command: str = ""
    flags: tuple[str, ...] = ()
    variables: Variables = field(default_factory=lambda: MappingProxyType({}))
    target: str = ""
    estimated_seconds: float | None = None
    """From the first node's start to the last node's end, by the nodes whose time is known."""
    waits_for: tuple[str, ...] = ()
    """The runs that a run of it would wait for now, a sentence each."""
    differs: Differs | None = None
    """The differences from the newest commit; None for the newest itself."""
    hooks: int = 0
    """The number of the project's hooks that dbt runs around the nodes."""
    threads: int = 1
    """How many nodes dbt runs at once, from the profile."""
    parse_warnings: ParseWarnings = ParseWarnings()
    """dbt's warnings while it parsed the graph that runs."""
    refresh: tuple[Preview, ...] = ()
    """For a refresh that is swapped in, or its undo: what happens to each relation."""

    @property
    def counted(self) -> int:
        """The number of nodes as dbt counts them, without the hooks."""
        return counts.number(node.kind for node in self.nodes)

    @property
    def writes(self) -> frozenset[str]:
        """The relations it creates, replaces or fills."""
        return frozenset(name for node in self.nodes for name in node.writes)

    @property
    def reads(self) -> frozenset[str]:
        """The relations it reads and does not write."""
        return frozenset(name for node in self.nodes for name in node.reads) - self.writes

    @property
    def digest(self) -> str:
        """The same for the same work: nodes in order, commit, command, variables, target (hex)."""
        parts = [self.commit, *self.what().values(), [node.node for node in self.nodes]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def what(self) -> dict[str, Any]:
        """dbt's arguments beside the nodes, and what a refresh touches; part of the digest."""
        arguments: dict[str, Any] = {
            "command": self.command,
            "flags": list(self.flags),
            "variables": to_json(self.variables),
            "target": self.target,
        }
        if self.refresh:  # other plans keep the digests that they had before there were previews
            arguments["refresh"] = [preview.digest_parts() for preview in self.refresh]
        return arguments

    @property
    def estimated_nodes(self) -> int:
        """Of how many nodes the time is known, as dbt counts them."""
        known = [node.kind for node in self.nodes if node.estimated_seconds is not None]
        return counts.number(known)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Reads what `to_json` gave; `threads` is not part of it."""
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        data = codec.plain(self)
        del data["threads"]
        return data | {
            "digest": self.digest,
            "counted": self.counted,
            "writes": sorted(self.writes),
            "estimated_nodes": self.estimated_nodes,
        }
