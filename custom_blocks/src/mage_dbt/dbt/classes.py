"""dbt's classes, made ready once for all parses that are forked from this process.

dbt checks each node, configuration and YAML block against a JSON schema. It writes the schema, and
the code that reads and writes an object, when a class is first used: of the 5 s of CPU in which dbt
parses our demo, 3 s are these. They depend on dbt's own code alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

from dbt.artifacts import resources
from dbt.contracts import project, selection
from dbt.contracts.graph import manifest, nodes, unparsed

from mage_dbt.commits.graph_key import shortcuts_wanted
from mage_dbt.dbt.patches.patch import apply_fitting
from mage_dbt.dbt.patches.schemas import patches


def make_ready() -> None:
    """Makes what dbt would make at the first use of each class."""
    with ExitStack() as back:
        if shortcuts_wanted(os.environ):
            apply_fitting(patches(), back)
        for checked in _checked():
            checked.json_schema()
    for checked in _checked():
        _write_code(checked)
    for written in _written():
        _write_code(written)


def _checked() -> Iterator[Any]:
    """The classes with a JSON schema that a parse of an ordinary project uses."""
    yield from (project.Project, project.Configuration, project.ProjectFlags, project.PackageConfig)
    yield from (nodes.ModelNode, nodes.SeedNode, nodes.SnapshotNode)
    yield from (nodes.GenericTestNode, nodes.SingularTestNode)
    yield from (resources.ModelConfig, resources.SeedConfig, resources.SnapshotConfig)
    yield from (resources.TestConfig, resources.SourceConfig)
    yield from (unparsed.UnparsedModelUpdate, unparsed.UnparsedNodeUpdate)
    yield from (unparsed.UnparsedSourceDefinition, unparsed.UnparsedMacroUpdate)
    yield from (unparsed.UnparsedExposure, selection.SelectorFile)


def _written() -> Iterator[Any]:
    """Further classes that end in the manifest."""
    yield from (manifest.WritableManifest, nodes.Macro, nodes.SourceDefinition)
    yield from (resources.Model, resources.Seed, resources.Snapshot, resources.Exposure)
    yield from (resources.GenericTest, resources.SingularTest, resources.SourceDefinition)


def _write_code(of: Any) -> None:
    """The code is written before the call fails, as it must: there is no object of nothing."""
    with suppress(Exception):
        of.from_dict({})
    with suppress(Exception):
        object.__new__(of).to_dict(omit_none=True)
