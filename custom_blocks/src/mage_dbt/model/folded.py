"""Skipped nodes, grouped by the node that kept them from running.

One failed model may keep a thousand nodes from running. A line for each would hide the failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mage_dbt.base.lists import short_list
from mage_dbt.model.run import NodeResult

TESTS = ("test", "unit_test")


@dataclass(frozen=True)
class Skipped:
    """The nodes of a run that one cause kept from running."""

    because: str
    """The name of the node that did not pass; empty when the cause was no node."""
    message: str
    """The reason, when the cause was no node."""
    nodes: tuple[NodeResult, ...]

    @property
    def names(self) -> list[str]:
        """The nodes' names, tests last."""
        return [node.name for node in sorted(self.nodes, key=lambda node: node.type in TESTS)]

    @property
    def why(self) -> str:
        """The reason, for each of the nodes."""
        return f"skipped because {self.because} did not pass" if self.because else self.message

    def __str__(self) -> str:
        """`48 skipped because of fct_orders: a, b, c and 45 more`."""
        cause = f" because of {self.because}" if self.because else ""
        text = f"{len(self.nodes)} skipped{cause}: {short_list(self.names)}"
        return text if self.because or not self.message else f"{text}\n{self.message}"


def by_cause(nodes: Iterable[NodeResult]) -> list[Skipped]:
    """The skipped nodes by cause, the cause of most skipped nodes first."""
    causes: dict[tuple[str, str], list[NodeResult]] = {}
    for node in nodes:
        if node.status == "skipped" and node.listed:
            cause = (node.because, "" if node.because else node.message)
            causes.setdefault(cause, []).append(node)
    found = [Skipped(*cause, tuple(skipped)) for cause, skipped in causes.items()]
    return sorted(found, key=lambda group: -len(group.nodes))
