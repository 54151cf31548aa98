"""What kept each skipped node of a run from running, found among its neighbours alone. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from mage_dbt.run import PASSED

NO_FAILURE = PASSED | {"skipped"}

TESTS = ("test.", "unit_test.")


class Causes:
    """Those of one run, by unique id. dbt skips a node after what it reads, so each asks only its
    neighbours, and those that were skipped before it know already."""

    def __init__(self, reads: Callable[[str], Sequence[str]]) -> None:
        """`reads` gives what a node reads; of a test, what it tests."""
        self._reads = reads
        self._passed: set[str] = set()
        self._failed: dict[str, str] = {}
        """By node, itself or the test on it that failed."""
        self._known: dict[str, str] = {}
        self._failed_hook = ""

    @property
    def any_failed(self) -> bool:
        return bool(self._failed or self._failed_hook)

    def finished(self, node: str, status: str) -> None:
        if status in PASSED:
            self._passed.add(node)
        elif status not in NO_FAILURE:
            self._failed[node] = node
            if node.startswith(TESTS):
                for tested in self._reads(node):
                    self._failed.setdefault(tested, node)
            elif node.startswith("operation."):
                self._failed_hook = self._failed_hook or node

    def of(self, node: str) -> str:
        """What failed nearest to a node that is skipped: a test of its own, a node it reads, a test
        on one; or a hook at the start, after which dbt may skip everything. Empty when nothing."""
        if node in self._failed:
            return self._failed[node]
        came_from = {node: ""}
        line = deque([node])
        while line:
            one = line.popleft()
            reads = self._reads(one)
            if cause := _first(self._failed, reads) or _first(self._known, reads):
                while one:
                    self._known[one] = cause
                    one = came_from[one]
                return cause
            for up in reads:
                # What has passed kept nothing from running, nor did what it reads.
                if up not in came_from and up not in self._passed:
                    came_from[up] = one
                    line.append(up)
        return self._failed_hook


def _first(causes: dict[str, str], nodes: Iterable[str]) -> str:
    return next((causes[one] for one in nodes if one in causes), "")
