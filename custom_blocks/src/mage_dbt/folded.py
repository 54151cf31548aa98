"""Skipped nodes in few words: by what kept them from running.

One model that fails may keep a thousand from running. A line for each would bury what failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mage_dbt.lists import short_list
from mage_dbt.run import NodeResult

TESTS = ("test", "unit_test")


@dataclass(frozen=True)
class Skipped:
    """Nodes of one run that one cause kept from running."""

    because: str
    """The name of what did not pass; empty when it was not a node."""
    message: str
    """Why, when it was not a node."""
    nodes: tuple[NodeResult, ...]

    @property
    def names(self) -> list[str]:
        """What is built stands before what tests it."""
        return [one.name for one in sorted(self.nodes, key=lambda one: one.type in TESTS)]

    @property
    def why(self) -> str:
        """Of each of the nodes."""
        return f"skipped because {self.because} did not pass" if self.because else self.message

    def __str__(self) -> str:
        """`48 skipped because of fct_orders: a, b, c and 45 more`."""
        cause = f" because of {self.because}" if self.because else ""
        text = f"{len(self.nodes)} skipped{cause}: {short_list(self.names)}"
        return text if self.because or not self.message else f"{text}\n{self.message}"


def by_cause(nodes: Iterable[NodeResult]) -> list[Skipped]:
    """The skipped ones among `nodes`, those of the cause that keeps most from running first."""
    causes: dict[tuple[str, str], list[NodeResult]] = {}
    for one in nodes:
        if one.status == "skipped" and one.listed:
            cause = (one.because, "" if one.because else one.message)
            causes.setdefault(cause, []).append(one)
    found = [Skipped(*cause, tuple(skipped)) for cause, skipped in causes.items()]
    return sorted(found, key=lambda one: -len(one.nodes))
