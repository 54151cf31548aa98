"""The graph of a commit, with what people wrote about it: for pages and explanations.

dbt has parsed it; nothing here is decided anew. It is kept beside the commit, and read when it is
needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mage_dbt.model import codec

GRAPH_FILE = "graph.json"
"""In a commit's folder."""


@dataclass(frozen=True)
class Column:
    """A column as the YAML describes it."""

    __pydantic_config__ = codec.DESCRIBED

    name: str
    type: str = ""
    description: str = ""
    hidden: bool = False
    """Whether its values must not be shown: its tags or meta say so."""


@dataclass(frozen=True)
class GraphNode:
    """A model, seed, snapshot, source, test, unit test or exposure."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    type: str
    package: str = ""
    path: str = ""
    """Its file, relative to the folder of dbt_project.yml."""
    yaml: str = ""
    """The YAML file that describes it, in the same way; empty without one."""
    materialized: str = ""
    keeps_rows: bool = False
    """Whether `full_refresh: false` in its configuration forbids a refresh."""
    relation: str = ""
    description: str = ""
    label: str = ""
    """An exposure's label; its name without one."""
    url: str = ""
    """An exposure's address; http or https only."""
    owner: str = ""
    tags: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    reads: tuple[str, ...] = ()
    """Unique ids of what it reads."""
    macros: tuple[str, ...] = ()
    """Files of the project's own macros that it uses, also through others."""
    tested: str = ""
    """For a test, the unique id of the node that it tests."""


@dataclass(frozen=True)
class Graph:
    """All nodes of one commit."""

    nodes: Mapping[str, GraphNode] = field(default_factory=dict)
    """By unique id."""

    @classmethod
    def read(cls, folder: Path) -> Graph:
        """Reads the graph in a commit's folder. Raises FileNotFoundError without one."""
        data = json.loads((folder / GRAPH_FILE).read_bytes())
        return cls({node["node"]: codec.read(GraphNode, node) for node in data["nodes"]})

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """By unique id, the nodes that read it."""
        found: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for read in node.reads:
                found.setdefault(read, []).append(node.node)
        return {node: tuple(readers) for node, readers in found.items()}

    def upstream(self, nodes: Iterable[str]) -> set[str]:
        """Everything that these nodes read, also through others; without themselves."""
        start = set(nodes)
        return set(self._reached(start, lambda node: self.nodes[node].reads)) - start

    def downstream(self, nodes: Iterable[str]) -> set[str]:
        """Everything that reads these nodes, also through others; without themselves."""
        start = set(nodes)
        return set(self._reached(start, lambda node: self.readers.get(node, ()))) - start

    def _reached(self, start: set[str], following: Any) -> Iterator[str]:
        seen, waiting = set(start), list(start)
        while waiting:
            node = waiting.pop()
            yield node
            if node in self.nodes:
                new = [other for other in following(node) if other not in seen]
                seen.update(new)
                waiting += new
