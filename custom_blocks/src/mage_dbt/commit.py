"""A Commit: one commit of dbt-metric, exported, with its packages and its parsed manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

READY_FILE = "ready.json"
"""Written last: a folder that holds it is a commit a run may use."""


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
    """A commit that dbt has parsed. Nothing in its folder changes any more."""

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
    """The profile dbt_project.yml asks for."""
    dbt_version: str
    adapter: str
    target: str
    models: tuple[Model, ...]
    variables: tuple[str, ...] | None
    """Names the project reads with var(); None when it computes such names as it runs."""
    nodes: tuple[KnownNode, ...] = ()
    """Everything a run can execute, and what is disabled of it."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it became ready, such as packages taken from the cache."""

    @property
    def parsed(self) -> Path:
        """Where manifest.json and partial_parse.msgpack lie."""
        return self.folder / "target"

    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.models)

    @classmethod
    def read(cls, folder: Path) -> Commit:
        """Reads the commit in `folder`. Raises FileNotFoundError when it is not ready."""
        try:
            data: Mapping[str, Any] = json.loads((folder / READY_FILE).read_text())
        except ValueError as error:  # the machine lost power while it was written, say
            raise FileNotFoundError(f"{folder / READY_FILE} cannot be read") from error
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        values["models"] = tuple(Model(**one) for one in data["models"])
        values["nodes"] = tuple(KnownNode(**one) for one in data["nodes"])
        values["variables"] = None if data["variables"] is None else tuple(data["variables"])
        values["notes"] = tuple(data["notes"])
        return cls(**values, folder=folder, project=folder / "tree" / data["subdir"])
