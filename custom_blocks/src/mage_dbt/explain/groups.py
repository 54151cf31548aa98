"""Groups what did not pass in a run by its cause. Pure.

Nodes that failed alike are one cause. A skipped node belongs to the cause of the failed node that
it waits for, also through others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mage_dbt.explain.stopped import cut_off
from mage_dbt.model.failure import MANY, cause_key, object_of, objects_key
from mage_dbt.model.folded import TESTS
from mage_dbt.model.run import NOT_REACHED, NodeResult

HOOK = "operation"


@dataclass(frozen=True)
class Group:
    """What failed for one cause, and what was skipped because of it."""

    failed: tuple[NodeResult, ...] = ()
    """The first failure first."""
    skipped: tuple[NodeResult, ...] = ()
    reason: str = ""
    """For nodes that were not reached although none failed: why."""

    @property
    def consequences(self) -> tuple[int, int, int]:
        """Grows with what the cause holds up: models first, then tests, then what failed."""
        models = sum(node.type not in TESTS for node in self.skipped)
        return models, len(self.skipped), len(self.failed)


@dataclass
class _Growing:
    failed: list[NodeResult] = field(default_factory=list)
    skipped: list[NodeResult] = field(default_factory=list)
    reason: str = ""


def grouped(
    results: Sequence[NodeResult], reads: Mapping[str, Sequence[str]], stopped: str = ""
) -> tuple[Group, ...]:
    """The causes among results that did not pass, most consequences first.

    `reads` are the unique ids that each planned node reads; of a test, what it tests. `stopped`
    says who or what ended the run, where that was none of its nodes: it is a cause, the first one,
    of all that it cut off or kept from running.
    """
    failed = [result for result in results if result.failed and not (stopped and cut_off(result))]
    found: dict[str, _Growing] = {}
    if stopped:
        found[f"reason {stopped}"] = _Growing(reason=stopped)
    key_of = _keys(failed)
    for result in failed:
        found.setdefault(key_of[result.node], _Growing()).failed.append(result)
    waits = _Waits(failed, reads)
    for result in results:
        if result.node in key_of or not result.listed:
            continue
        node = waits.of(result)
        if node:
            found[key_of[node]].skipped.append(result)
        else:
            reason = stopped or result.message.removeprefix(NOT_REACHED)
            group = found.setdefault(f"reason {reason}", _Growing(reason=reason))
            group.skipped.append(result)
    groups = [
        Group(tuple(group.failed), tuple(group.skipped), group.reason) for group in found.values()
    ]
    if not stopped:
        return tuple(_by_consequences(groups))
    stop, others = groups[0], _by_consequences(groups[1:])
    # What failed before the stop is what somebody has to put right.
    return (
        *(group for group in others if group.failed),
        stop,
        *(g for g in others if not g.failed),
    )


def _keys(failed: Sequence[NodeResult]) -> dict[str, str]:
    """What the failures of one cause share, by node."""
    by_kind: dict[str, set[str]] = {}
    for result in failed:
        if name := object_of(result):
            by_kind.setdefault(objects_key(result), set()).add(name)
    many = {kind for kind, names in by_kind.items() if len(names) >= MANY}
    keys = {}
    for result in failed:
        kind = objects_key(result)
        keys[result.node] = f"failed {kind if kind in many else cause_key(result)}"
    return keys


def _by_consequences(groups: Sequence[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: group.consequences, reverse=True)


class _Waits:
    """Finds the failed node that a skipped node waits for."""

    def __init__(self, failed: Sequence[NodeResult], reads: Mapping[str, Sequence[str]]) -> None:
        self._reads = reads
        self._by_name: dict[str, list[str]] = {}
        self._by_message: dict[str, str] = {}
        self._hook = ""
        self._holds_up: dict[str, str] = {}
        """The failure by node: the node's own, or that of a test on it."""
        for result in failed:
            self._by_name.setdefault(result.name, []).append(result.node)
            self._by_message.setdefault(result.message, result.node)
            if result.type == HOOK:
                self._hook = self._hook or result.node
        for result in failed:
            self._holds_up[result.node] = result.node
        for result in failed:
            if result.type in TESTS:
                for tested in reads.get(result.node, ()):
                    self._holds_up.setdefault(tested, result.node)

    def of(self, result: NodeResult) -> str:
        """The unique id of the failed node; empty where no node is to blame."""
        named = self._by_name.get(result.because, []) if result.because else []
        if len(named) == 1:
            return named[0]
        if result.message.startswith(NOT_REACHED):
            return self._by_message.get(result.message.removeprefix(NOT_REACHED), "")
        return self._nearest(result.node, named) or (named[0] if named else self._hook)

    def _nearest(self, node: str, among: Collection[str]) -> str:
        """The nearest failure upstream; with `among` only one of these."""
        seen, waiting = {node}, deque([node])
        while waiting:
            current = waiting.popleft()
            failed = self._holds_up.get(current, "")
            if failed and (not among or failed in among):
                return failed
            for up in self._reads.get(current, ()):
                if up not in seen:
                    seen.add(up)
                    waiting.append(up)
        return ""
