"""A Commit: one commit of dbt-metric, exported, with its packages and its parsed manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mage_dbt.parse_warnings import ParseWarnings

READY_FILE = "ready.json"
"""Written last: a folder that holds it is a commit a run may use."""

OWN = ("sha", "subject", "author", "committed_at", "graph")


@dataclass(frozen=True)
class Model:
    """What a picker shows of one model, seed or snapshot."""

    node: str
    name: str
    type: str
    materialized: str
    relation: str
    description: str = ""
    path: str = ""
    """Its file, from the folder of dbt_project.yml."""
    checksum: str = ""
    """Of its file, as dbt computes it."""


@dataclass(frozen=True)
class KnownNode:
    """One node of a commit, as a rerun looks for it: by its id, or by its file."""

    node: str
    name: str
    type: str
    path: str
    enabled: bool = True


@dataclass(frozen=True)
class Commit:
    """A commit that dbt has parsed. Nothing that a run reads in its folder changes any more."""

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
    """Names that files of the commit seem to read with var(), for a hint; None when some are
    computed."""
    nodes: tuple[KnownNode, ...] = ()
    """Everything a run can execute, and what is disabled of it."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it became ready, such as packages taken from the cache."""
    graph: str = ""
    """With which variables, target and environment dbt told profile, target, models and nodes: see
    `Key.digest`."""
    clock: tuple[str, ...] = ()
    """What of its configuration depends on when dbt parses it: each run parses for itself."""
    parse_warnings: ParseWarnings = ParseWarnings()
    """What dbt warned of, and what of it is new since the ready commit before."""

    @property
    def parsed(self) -> Path:
        """Where manifest.json and partial_parse.msgpack lie."""
        return self.folder / "target"

    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.models)

    def with_graph(self, graph: str, told: Mapping[str, Any]) -> Commit:
        """The same commit as another graph shows it: `told` is dbt's answer, `graph` its key."""
        seen = replace(self, graph=graph, **facts(told))
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
            folder=folder,
            project=folder / data["project"],
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data that `read` reads back."""
        told = ("dbt_version", "adapter", "profile", "target", "variables", "clock", "notes")
        return {
            **{name: getattr(self, name) for name in (*OWN, *told)},
            "project": str(self.project.relative_to(self.folder)),
            "models": [vars(one) for one in self.models],
            "nodes": [vars(one) for one in self.nodes],
            "parse_warnings": self.parse_warnings.to_json(),
        }


def facts(told: Mapping[str, Any]) -> dict[str, Any]:
    """What `worker.describe` tells, as fields of a Commit."""
    return {
        **{name: told[name] for name in ("dbt_version", "adapter", "profile", "target")},
        "models": tuple(Model(**one) for one in told["models"]),
        "nodes": tuple(KnownNode(**one) for one in told["nodes"]),
        "parse_warnings": ParseWarnings.from_json(told["parse_warnings"]),
    }
