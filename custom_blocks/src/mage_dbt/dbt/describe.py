"""What dbt makes of a commit, with one set of variables, one target and one environment.

A commit keeps this for its runs: its models for the pickers, its nodes for reruns.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mage_dbt.base.redaction import scrub
from mage_dbt.commits.export import pointers
from mage_dbt.dbt.nodes import name_of, runs
from mage_dbt.dbt.project import Project


def describe(project: Project) -> dict[str, Any]:
    """Plain data; `project` is warm. `Commit` in `model/commit.py` reads it."""
    manifest = project.manifest
    return {
        "dbt_version": version("dbt-core"),
        "profile": project.config.profile_name,
        "target": project.config.target_name,
        "adapter": manifest.metadata.adapter_type,
        "models": [
            {
                "node": node.unique_id,
                "name": name_of(node),
                "type": str(node.resource_type),
                "materialized": str(node.config.materialized),
                "relation": node.relation_name or "",
                "description": scrub(node.description.strip()),
                "path": project.path_of(node),
                "checksum": node.checksum.checksum,
            }
            for node in sorted(manifest.nodes.values(), key=lambda node: node.name)
            if str(node.resource_type) in ("model", "seed", "snapshot")
        ],
        "nodes": list(_known_nodes(project)),
        "parse_warnings": project.warnings.to_json(),
    }


def pointers_read(project: Project) -> dict[str, str]:
    """The files among those that dbt has read which hold only a pointer; see `export.pointers`."""
    paths = (getattr(file.path, "full_path", None) for file in project.manifest.files.values())
    return pointers(Path(path) for path in paths if path)


def _known_nodes(project: Project) -> Iterator[dict[str, Any]]:
    """All nodes that can be executed, also the disabled ones."""
    manifest = project.manifest
    functions = getattr(manifest, "functions", {})
    enabled = [*manifest.nodes.values(), *manifest.unit_tests.values(), *functions.values()]
    disabled = [nodes[0] for nodes in manifest.disabled.values()]
    known = {node.unique_id for node in enabled}
    for node in [*enabled, *(node for node in disabled if node.unique_id not in known)]:
        if runs(node):
            yield {
                "node": node.unique_id,
                "name": name_of(node),
                "type": str(node.resource_type),
                "path": project.path_of(node),
                "enabled": node.unique_id in known,
            }
