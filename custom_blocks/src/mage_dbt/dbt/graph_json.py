"""The graph of a parsed commit with what people wrote about it, as the text of `graph.json`.

It is made once for each commit, in time that grows with its nodes. `Graph` in `model/graph.py`
reads it.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from dbt.contracts.graph.manifest import Manifest

from mage_dbt.base.redaction import scrubber, without_credentials
from mage_dbt.base.text import storable
from mage_dbt.dbt.hiding import is_to_be_hidden
from mage_dbt.dbt.nodes import WRITTEN, is_test, materialized_as, name_of, reads_of
from mage_dbt.dbt.project import Project

SCHEMES = ("http", "https")
"""Of an exposure's address; a page makes a link of it."""

IN_YAML = (".yml", ".yaml")


def graph_json(project: Project) -> str:
    """The text of `graph.json`; `project` is warm."""
    nodes = list(_Writer(project).nodes())
    return storable(json.dumps({"nodes": nodes}, ensure_ascii=False, separators=(",", ":")))


class _Writer:
    """Writes each node as plain data, without what has its default."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._manifest: Manifest = project.manifest
        self._text: Callable[[str], str] = cache(scrubber())
        self._path = cache(project.path_in)
        self._used = MacroFiles(
            {name: list(macro.depends_on.macros) for name, macro in self._manifest.macros.items()},
            {
                name: self._path(macro.package_name, macro.original_file_path)
                for name, macro in self._manifest.macros.items()
                if project.is_own(macro.package_name)
            },
        )

    def nodes(self) -> Iterator[dict[str, Any]]:
        manifest = self._manifest
        for node in chain(
            (node for node in manifest.nodes.values() if str(node.resource_type) in WRITTEN),
            getattr(manifest, "functions", {}).values(),
            (node for node in manifest.nodes.values() if is_test(node)),
            manifest.unit_tests.values(),
            manifest.sources.values(),
            manifest.exposures.values(),
        ):
            try:
                written = {name: value for name, value in self._node(node) if value}
            except Exception:  # a page then lacks this node; the commit is no worse for runs
                traceback.print_exc()
            else:
                yield written

    def _node(self, node: Any) -> Iterator[tuple[str, Any]]:
        kind = str(node.resource_type)
        path = self._path(node.package_name, node.original_file_path)
        yield "node", node.unique_id
        yield "name", f"{node.source_name}.{node.name}" if kind == "source" else name_of(node)
        yield "type", kind
        yield "package", node.package_name
        yield "path", path
        yield "yaml", self._yaml(node) or (path if path.endswith(IN_YAML) else "")
        yield "materialized", materialized_as(node)
        yield "keeps_rows", getattr(getattr(node, "config", None), "full_refresh", None) is False
        yield "relation", getattr(node, "relation_name", "") or ""
        yield "description", self._text((getattr(node, "description", "") or "").strip())
        yield "tags", [self._text(str(tag)) for tag in _tags(node)]
        yield "columns", [self._column(column) for column in _columns(node)]
        yield "reads", list(dict.fromkeys(self._reads(node)))
        yield "macros", self._used.of(getattr(getattr(node, "depends_on", None), "macros", ()))
        if kind == "exposure":
            yield "label", self._text(node.label or node.name)
            yield "url", self._url(node.url or "")
            yield "owner", self._text(getattr(node.owner, "name", "") or "")
        elif is_test(node):
            yield "tested", _tested(self._manifest, node)

    def _column(self, column: Any) -> dict[str, Any]:
        data = {
            "name": column.name,
            "type": self._text(getattr(column, "data_type", "") or ""),
            "description": self._text((column.description or "").strip()),
            "hidden": is_to_be_hidden(column),
        }
        return {name: value for name, value in data.items() if value}

    def _yaml(self, node: Any) -> str:
        package, _, path = (getattr(node, "patch_path", "") or "").partition("://")
        return self._path(package, path) if path else ""

    def _reads(self, node: Any) -> Iterator[str]:
        """What it reads; an exposure of a metric reads what the metric is made of."""
        waiting = reads_of(node)
        seen = set(waiting)
        while waiting:
            read = waiting.pop(0)
            between = self._between(read)
            if between is None:
                yield read
            else:
                waiting += [other for other in between if other not in seen]
                seen.update(between)

    def _between(self, unique_id: str) -> list[str] | None:
        """What a metric or the like reads; None for a node of the graph."""
        for table in ("metrics", "semantic_models", "saved_queries"):
            found = getattr(self._manifest, table, {}).get(unique_id)
            if found is not None:
                return reads_of(found)
        return None

    def _url(self, url: str) -> str:
        try:
            parts = urlsplit(url)
        except ValueError:
            return ""
        wanted = parts.scheme.lower() in SCHEMES and parts.netloc
        return without_credentials(self._text(url)) if wanted else ""


class MacroFiles:
    """The files of macros that nodes use, also through other macros."""

    def __init__(self, calls: Mapping[str, Iterable[str]], files: Mapping[str, str]) -> None:
        """`calls` are the macros that each macro calls, `files` the files of those that count."""
        self._calls = calls
        self._files = files
        self._of_macro: dict[str, frozenset[str]] = {}
        self._of_macros: dict[tuple[str, ...], list[str]] = {}

    def of(self, macros: Iterable[str]) -> list[str]:
        """The files behind these macros, sorted."""
        wanted = tuple(macros)
        found = self._of_macros.get(wanted)
        if found is None:
            files: set[str] = set().union(*map(self._files_of, wanted))
            found = self._of_macros[wanted] = sorted(files)
        return found

    def _files_of(self, macro: str) -> frozenset[str]:
        found = self._of_macro.get(macro)
        if found is None:
            seen, waiting = {macro}, [macro]
            while waiting:
                new = set(self._calls.get(waiting.pop(), ())) - seen
                seen |= new
                waiting += new
            files = frozenset(self._files[name] for name in seen if name in self._files)
            found = self._of_macro[macro] = files
        return found


def _tags(node: Any) -> Iterable[Any]:
    tags = getattr(node, "tags", None)
    if tags is None:
        tags = getattr(getattr(node, "config", None), "tags", None)
    return [tags] if isinstance(tags, str) else tags or ()


def _columns(node: Any) -> Iterable[Any]:
    columns = getattr(node, "columns", None) or {}
    return columns.values() if isinstance(columns, Mapping) else ()


def _tested(manifest: Manifest, node: Any) -> str:
    """The node that a test tests; of a test in SQL, what it reads, where that is one thing."""
    named = getattr(node, "attached_node", None) or getattr(node, "tested_node_unique_id", None)
    if named:
        return str(named)
    reads = list(dict.fromkeys(reads_of(node)))
    return reads[0] if len(reads) == 1 else ""
