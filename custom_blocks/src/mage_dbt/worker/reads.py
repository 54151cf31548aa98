"""Which relations each planned node reads, in time that grows with the graph's edges. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mage_dbt.worker.bits import bits_of
from mage_dbt.worker.nodes import WRITTEN, reads_of

Node = Callable[[str], Any]


def relations_read(planned: Mapping[str, Any], node_of: Node) -> dict[str, tuple[str, ...]]:
    """By unique id, the project's tables and views that each node of the plan reads, sorted.

    Through an ephemeral model, and through a view beside the view itself: who reads a view reads
    its tables, and when one of those is replaced the view falls with it. What is behind a view of
    this same plan is read by that view, and said there: with the plan's nodes as they are, 20
    layers of views would else be said 20 times.
    """
    seen = _Seen(planned, node_of)
    return {one: seen.by(node) for one, node in planned.items()}


class _Seen:
    """What is seen through each node, once for all that read it: a bit for each relation."""

    def __init__(self, planned: Mapping[str, Any], node_of: Node) -> None:
        self._planned = planned
        self._node_of = node_of
        self._names: list[str] = []
        self._through: dict[str, int] = {}

    def by(self, node: Any) -> tuple[str, ...]:
        found = 0
        for one in reads_of(node):
            found |= self._through_one(one)
        return tuple(sorted({self._names[bit] for bit in bits_of(found)}))

    def _through_one(self, begin: str) -> int:
        """Remembers where it was by itself: a chain of models may be longer than Python's stack."""
        line = [begin]
        while line:
            one = line[-1]
            behind = list(self._behind(one))
            missing = [up for up in behind if up not in self._through]
            if missing and one not in self._through:
                line += missing
                continue
            line.pop()
            if one not in self._through:
                found = self._own(one)
                for up in behind:
                    found |= self._through[up]
                self._through[one] = found
        return self._through[begin]

    def _own(self, one: str) -> int:
        node = self._node_of(one)
        name = getattr(node, "relation_name", None)
        if not name or str(node.resource_type) not in WRITTEN:
            return 0
        self._names.append(name)
        return 1 << len(self._names) - 1

    def _behind(self, one: str) -> Iterator[str]:
        node = self._node_of(one)
        if str(node.resource_type) not in WRITTEN:
            return
        named = bool(getattr(node, "relation_name", None))
        is_view = named and str(node.config.materialized) == "view" and one not in self._planned
        if is_view or not named:
            yield from reads_of(node)
