"""What dbt makes of a commit, with one set of variables, one target and one environment.

Of what every run of the commit finds it is kept: its models for the pickers, its nodes for reruns.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from dbt.contracts.graph.manifest import Manifest

from mage_dbt.worker.nodes import EXECUTABLE, name_of
from mage_dbt.worker.project import Project


def describe(project: Project) -> dict[str, Any]:
    """Plain data; `project` is warm. See `commit.Graph`."""
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
                "description": node.description.strip(),
                "path": node.original_file_path,
                "checksum": node.checksum.checksum,
            }
            for node in sorted(manifest.nodes.values(), key=lambda node: node.name)
            if str(node.resource_type) in ("model", "seed", "snapshot")
        ],
        "nodes": list(_known_nodes(manifest)),
    }


def _known_nodes(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Everything that can be executed, and what is disabled of it."""
    functions = getattr(manifest, "functions", {})
    enabled = [*manifest.nodes.values(), *manifest.unit_tests.values(), *functions.values()]
    disabled = [nodes[0] for nodes in manifest.disabled.values()]
    known = {node.unique_id for node in enabled}
    for node in [*enabled, *(one for one in disabled if one.unique_id not in known)]:
        if str(node.resource_type) in EXECUTABLE:
            yield {
                "node": node.unique_id,
                "name": name_of(node),
                "type": str(node.resource_type),
                "path": node.original_file_path,
                "enabled": node.unique_id in known,
            }
