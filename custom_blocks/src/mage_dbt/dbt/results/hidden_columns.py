"""Which columns' values are not shown: by their names, or as the project says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dbt.contracts.graph.manifest import Manifest

from mage_dbt.base.redaction import hides_its_value
from mage_dbt.dbt.hiding import is_to_be_hidden
from mage_dbt.dbt.nodes import WRITTEN, node_in, reads_of

_manifest = Manifest()
"""Of this process, which has one run."""


def of_project(manifest: Manifest) -> None:
    """From now on `hidden_from` knows what this project says of its columns."""
    global _manifest
    _manifest = manifest


def hidden_from(unique_id: str) -> Callable[[str], bool]:
    """Which columns of this node and of what it reads are hidden, before it has a result."""
    return HiddenColumns(_manifest, node_in(_manifest, unique_id)).hides


class HiddenColumns:
    """The hidden columns of what one node reads; of those of a node that is built, too."""

    def __init__(self, manifest: Manifest, node: Any) -> None:
        read = [manifest.nodes.get(up) or manifest.sources.get(up) for up in reads_of(node)]
        relations = [relation for relation in read if relation is not None]
        if str(getattr(node, "resource_type", "")) in WRITTEN:
            relations.append(node)
        self._all = any(is_to_be_hidden(relation) for relation in relations)
        self._said: set[str] = set()
        self._known: set[str] = set()
        for relation in relations:
            for column in relation.columns.values():
                self._known.add(column.name.lower())
                if is_to_be_hidden(column):
                    self._said.add(column.name.lower())
        self._tested = str(getattr(node, "column_name", None) or "").strip('"').lower()

    def among(self, columns: Sequence[str]) -> list[str]:
        """Those of the columns of the test's rows that are hidden.

        A test gives the column that it tests any name, as `unique` does. So where that one is
        hidden, every column is that the project does not name.
        """
        renamed = bool(self._tested) and self.hides(self._tested)
        return [
            name
            for name in dict.fromkeys(columns)
            if self.hides(name) or (renamed and name.lower() not in self._known)
        ]

    def hides(self, name: str) -> bool:
        """Whether a column of this name is hidden."""
        return self._all or hides_its_value(name) or name.lower() in self._said
