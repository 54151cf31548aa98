"""A Commit: one commit of dbt-metric, exported, with its packages and its parsed manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mage_dbt.model import codec
from mage_dbt.model.codec import Moment
from mage_dbt.model.parse_warnings import ParseWarnings

READY_FILE = "ready.json"
"""Written last: a folder that holds it is a commit a run may use."""

OWN = ("sha", "subject", "author", "committed_at", "graph")


@dataclass(frozen=True)
class Model:
    """A model, seed or snapshot, as a picker shows it."""

    node: str
    name: str
    type: str
    materialized: str
    relation: str
    description: str = ""
    path: str = ""
    """Its file, relative to the folder of dbt_project.yml."""
    checksum: str = ""
    """dbt's checksum of its file."""


@dataclass(frozen=True)
class KnownNode:
    """One node of a commit; a rerun finds it by its id or by its file."""

    node: str
    name: str
    type: str
    path: str
    enabled: bool = True


@dataclass(frozen=True)
class CommitLine:
    """A commit in a list of commits."""

    __pydantic_config__ = codec.DESCRIBED

    sha: str
    author: str
    at: Moment
    """When its author made it."""
    subject: str
    files: int
    """How many files it changed; a merge's own count only where it solved conflicts."""


@dataclass(frozen=True)
class Commit:
    """A commit that dbt has parsed. The files of its folder that runs read never change."""

    sha: str
    subject: str
    author: str
    committed_at: str
    """ISO 8601 with the author's own offset."""
    folder: Path
    """Holds `tree/` (the export) and `target/` (manifest and partial parse)."""
    project: Path
    """The folder of dbt_project.yml inside `tree/`."""
    profile: str
    dbt_version: str
    adapter: str
    target: str
    models: tuple[Model, ...]
    variables: tuple[str, ...] | None
    """Names that the commit's files seem to read with var(), for a hint. None when a name is
    computed."""
    nodes: tuple[KnownNode, ...] = ()
    """Every node that a run can execute, and those that are disabled."""
    notes: tuple[str, ...] = ()
    """Remarks on how it became ready, such as packages taken from the cache."""
    graph: str = ""
    """The `GraphKey.digest` of the variables, target and environment that dbt parsed it with."""
    clock: tuple[str, ...] = ()
    """The parts of its configuration that read the clock. Each run then parses for itself."""
    parse_warnings: ParseWarnings = ParseWarnings()
    """dbt's warnings, and which are new since the ready commit before."""
    seconds: float | None = None
    """How long it took to make it ready."""

    @property
    def parsed(self) -> Path:
        """The folder of manifest.json and partial_parse.msgpack."""
        return self.folder / "target"

    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    def with_graph(self, graph: str, described: Mapping[str, Any]) -> Commit:
        """The same commit in another graph: `described` is dbt's answer, `graph` its key."""
        seen = replace(self, graph=graph, **facts(described))
        warnings = seen.parse_warnings.instead_of(self.parse_warnings)
        return replace(seen, parse_warnings=warnings)

    @classmethod
    def read(cls, folder: Path) -> Commit:
        """Reads the commit in `folder`. Raises FileNotFoundError when it is not ready."""
        try:
            data: Mapping[str, Any] = json.loads((folder / READY_FILE).read_text())
        except ValueError as error:  # the machine lost power while it was written, say
            raise FileNotFoundError(f"{folder / READY_FILE} cannot be read") from error
        return cls(
            **{name: data[name] for name in OWN},
            **facts(data),
            variables=None if data["variables"] is None else tuple(data["variables"]),
            clock=tuple(data["clock"]),
            notes=tuple(data["notes"]),
            seconds=data.get("seconds"),
            folder=folder,
            project=folder / data["project"],
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data that `read` reads back."""
        plain = (
            *("dbt_version", "adapter", "profile", "target"),
            *("variables", "clock", "notes", "seconds"),
        )
        return {
            **{name: getattr(self, name) for name in (*OWN, *plain)},
            "project": str(self.project.relative_to(self.folder)),
            "models": [vars(model) for model in self.models],
            "nodes": [vars(node) for node in self.nodes],
            "parse_warnings": self.parse_warnings.to_json(),
        }


def facts(described: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `dbt/describe.py`, as fields of a Commit."""
    return {
        **{name: described[name] for name in ("dbt_version", "adapter", "profile", "target")},
        "models": tuple(Model(**model) for model in described["models"]),
        "nodes": tuple(KnownNode(**node) for node in described["nodes"]),
        "parse_warnings": ParseWarnings.from_json(described["parse_warnings"]),
    }
