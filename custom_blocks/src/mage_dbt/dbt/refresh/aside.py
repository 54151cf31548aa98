"""Which nodes of a refresh are built aside, and where: changed in the manifest, in this process.

A model, its hooks and its tests find its relation by the node's schema and name, and so does every
`ref` to it. So a node whose schema is another one is built, tested and read there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dbt.contracts.graph.manifest import Manifest
from dbt.graph.selector import NodeSelector

from mage_dbt.base.lists import short_list
from mage_dbt.dbt.nodes import is_test, key_of, materialized_as, name_of, node_in, reads_of
from mage_dbt.dbt.results.hidden_columns import HiddenColumns
from mage_dbt.model.refresh import Refusal
from mage_dbt.warehouse.names import Folding, Name
from mage_dbt.warehouse.refresh import Part

BUILT_ASIDE = frozenset({"table", "incremental", "view", "seed"})
"""Materializations that build the whole relation under the node's own name."""

WITHOUT_RELATION = frozenset({"ephemeral", "test", "unit", ""})

KEPT = "`full_refresh: false` in the configuration"
SNAPSHOT = "a snapshot is history, which no source can give again"


class Aside:
    """The nodes of one refresh."""

    def __init__(self, manifest: Manifest, folding: Folding) -> None:
        self._manifest = manifest
        self._folding = folding
        self._left_out: dict[str, str] = {}
        self.live: dict[str, str] = {}
        """The rendered name of each part's live relation, by unique id; after `move`."""

    @contextmanager
    def leaving_out(self) -> Iterator[None]:
        """In this block dbt selects no node that a full refresh does not rebuild.

        In place dbt would go on with such a node, which then reads what is not live yet.
        """
        original = NodeSelector.get_selected

        def get_selected(selector: NodeSelector, spec: Any, warn_on_no_nodes: bool = True) -> Any:
            return self._without(original(selector, spec, warn_on_no_nodes))

        NodeSelector.get_selected = get_selected
        try:
            yield
        finally:
            NodeSelector.get_selected = original

    def _without(self, selected: Collection[str]) -> set[str]:
        for unique_id in selected:
            node = node_in(self._manifest, unique_id)
            if str(node.resource_type) == "snapshot":
                self._left_out[unique_id] = SNAPSHOT
            elif getattr(getattr(node, "config", None), "full_refresh", None) is False:
                self._left_out[unique_id] = KEPT
        return {unique_id for unique_id in selected if not self._is_left_out(unique_id)}

    def _is_left_out(self, unique_id: str) -> bool:
        if unique_id in self._left_out:
            return True
        node = node_in(self._manifest, unique_id)
        reads = reads_of(node)
        return is_test(node) and bool(reads) and all(up in self._left_out for up in reads)

    def notes(self) -> list[str]:
        """Sentences on the nodes that keep their rows."""
        why: dict[str, list[str]] = {}
        for unique_id, reason in sorted(self._left_out.items()):
            why.setdefault(reason, []).append(name_of(node_in(self._manifest, unique_id)))
        return [
            f"{short_list(names)} keep{'s' * (len(names) == 1)} the rows there are: {reason}."
            for reason, names in why.items()
        ]

    def refusals(self, planned: Iterable[Any]) -> list[Refusal]:
        """The planned nodes that cannot be built aside."""
        return [
            Refusal(
                f"{name_of(node)} is a {materialized_as(node) or node.resource_type}, which cannot "
                "be built aside.",
                "Leave it out, or ask for the refresh in place.",
            )
            for node in planned
            if not is_test(node)
            and str(node.resource_type) != "operation"
            and materialized_as(node) not in BUILT_ASIDE | WITHOUT_RELATION
        ]

    def parts(
        self,
        planned: Iterable[Any],
        schema_of: Callable[[str, list[str]], str],
    ) -> list[Part]:
        """The planned nodes with a relation. `schema_of` gives the schema aside of a live schema,
        among all of them."""
        names = {
            node.unique_id: self._folding.name(node.relation_name)
            for node in planned
            if materialized_as(node) in BUILT_ASIDE and getattr(node, "relation_name", None)
        }
        schemas = sorted({name.schema for name in names.values()})
        return [
            Part(
                node=unique_id,
                name=name_of(node_in(self._manifest, unique_id)),
                live=Name("", name.schema, name.name),
                incoming=Name("", schema_of(name.schema, schemas), name.name),
                is_view=materialized_as(node_in(self._manifest, unique_id)) == "view",
                key=key_of(node_in(self._manifest, unique_id)),
                hides=HiddenColumns(self._manifest, node_in(self._manifest, unique_id)).hides,
            )
            for unique_id, name in names.items()
        ]

    def move(self, parts: Iterable[Part], relation_of: Callable[[Any], Any]) -> None:
        """From now on dbt builds these parts aside. `relation_of` gives a node's relation."""
        for part in parts:
            node = node_in(self._manifest, part.node)
            self.live[part.node] = node.relation_name
            node.schema = part.incoming.schema
            node.relation_name = str(relation_of(node))
