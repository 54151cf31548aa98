"""What dbt makes of a commit, with one set of variables, one target and one environment.

Of what every run of the commit finds it is kept: its models for the pickers, its nodes for reruns.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mage_dbt.elsewhere import pointers
from mage_dbt.redaction import scrub
from mage_dbt.worker.nodes import name_of, runs
from mage_dbt.worker.project import Project


def describe(project: Project) -> dict[str, Any]:
    """Plain data; `project` is warm. See `commit.facts`."""
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
    """Of the files that dbt has read, seeds and packages too, those that hold but a pointer."""
    paths = (getattr(one.path, "full_path", None) for one in project.manifest.files.values())
    return pointers(Path(path) for path in paths if path)


def _known_nodes(project: Project) -> Iterator[dict[str, Any]]:
    """Everything that can be executed, and what is disabled of it."""
    manifest = project.manifest
    functions = getattr(manifest, "functions", {})
    enabled = [*manifest.nodes.values(), *manifest.unit_tests.values(), *functions.values()]
    disabled = [nodes[0] for nodes in manifest.disabled.values()]
    known = {node.unique_id for node in enabled}
    for node in [*enabled, *(one for one in disabled if one.unique_id not in known)]:
        if runs(node):
            yield {
                "node": node.unique_id,
                "name": name_of(node),
                "type": str(node.resource_type),
                "path": project.path_of(node),
                "enabled": node.unique_id in known,
            }
