"""What is known of a run's failure, and does not change once the run is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mage_dbt.commits.store import Commits
from mage_dbt.explain.causes import LOOKED_INTO, Causes, may_be_known_later
from mage_dbt.explain.evidence import Evidence
from mage_dbt.explain.groups import Group, grouped
from mage_dbt.explain.stale import RELATIONS, exposures_of
from mage_dbt.explain.stopped import REFRESHES, changed_nothing, stopped
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.alerts import AlertLedger
from mage_dbt.ledger.failures import FailureLedger, PlannedNodes
from mage_dbt.model.commit import Commit
from mage_dbt.model.explanation import Cause
from mage_dbt.model.folded import TESTS
from mage_dbt.model.graph import Graph
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.request import Operation
from mage_dbt.model.run import NodeResult, Run, RunState

AGAIN = timedelta(seconds=60)
"""After this time what git could not tell, and what is estimated, is asked again."""


MAY_REFRESH = (*REFRESHES, Operation.RERUN_FAILED)
"""Operations that may build aside."""


@dataclass(frozen=True)
class Known:
    """What is known of one run's failure."""

    run: Run
    causes: tuple[Cause, ...]
    """Without what depends on later runs."""
    groups: tuple[Group, ...]
    ended: Mapping[str, datetime]
    """When each node did not pass."""
    planned: PlannedNodes
    exposures: Mapping[str, tuple[str, ...]]
    morning: str | None
    """The local date whose daily build the run is, or repeats."""
    until: datetime | None
    """When to look again; None for ever."""
    unchanged: bool = False
    """Whether it was stopped, and no relation is another one than before: so none is stale."""


class KnownMaker:
    """Finds out what is known of the runs of one ledger."""

    def __init__(
        self, ledger: Ledger, commits: Commits, evidence: Evidence, now: Callable[[], datetime]
    ) -> None:
        self._ledger = ledger
        self._failures = FailureLedger(ledger)
        self._root = AlertLedger(ledger).root
        self._commits = commits
        self._evidence = evidence
        self._now = now

    def of(self, run: Run) -> Known:
        """Raises LedgerUnreachable."""
        root = self._ledger.head(self._root(run.id)) if run.follows else run
        if run.state is RunState.SUCCESS:
            return Known(run, (), (), {}, PlannedNodes({}), {}, root.morning, None)
        if run.state.final and (run.operation in MAY_REFRESH):
            run = self._ledger.run(run.id)  # with the steps of its refresh
        ended_by = stopped(run)
        unchanged = bool(ended_by) and changed_nothing(run)
        results = self._failures.not_passed(run.id)
        graph = self._evidence.graph(run.commit) if results else None
        planned = PlannedNodes({})
        if results:
            planned = self._failures.planned(run.id, _wanted([node for node, _ in results], graph))
        groups = grouped(
            [result for result, _ in results],
            {node.node: node.depends_on for node in planned.nodes.values()},
            ended_by,
        )
        ended = {result.node: at for result, at in results}
        if run.state.final and not any(group.failed or group.skipped for group in groups):
            groups, planned = self._nothing_ran(run, ended_by or run.detail)
            graph = self._evidence.graph(run.commit)
            ended = {node: run.asked_at for node in planned.nodes}
        causes = Causes(self._evidence, run, graph, planned, ended)
        found = tuple(causes.of(group, at < LOOKED_INTO) for at, group in enumerate(groups))
        if unchanged:  # nobody misses what did not run
            found = tuple(replace(cause, waiting=(), waiting_tests=0) for cause in found)
        unknown = any(may_be_known_later(cause.changes_note) for cause in found)
        return Known(
            run,
            found,
            groups,
            ended,
            planned,
            exposures_of(graph) if graph else {},
            root.morning,
            self._now() + AGAIN if unknown else None,
            unchanged,
        )

    def _nothing_ran(self, run: Run, reason: str) -> tuple[tuple[Group, ...], PlannedNodes]:
        """The cause of a run that failed without a result, and what it would have run.

        Without a plan that is known of a full build: all that the live commit holds.
        """
        planned = self._failures.planned(run.id)
        if not planned.nodes and run.is_full_build and self._commits.live:
            planned = PlannedNodes(_all_of(self._commits.live))
        skipped = tuple(
            NodeResult(node.node, node.name, node.type, "skipped", materialized=node.materialized)
            for node in planned.nodes.values()
        )
        return (Group(skipped=skipped, reason=reason),), planned


def _wanted(results: Sequence[NodeResult], graph: Graph | None) -> set[str]:
    """The nodes whose plan is read: what did not pass, and what failed tests test."""
    nodes = graph.nodes if graph else {}
    tested = {
        nodes[result.node].tested
        for result in results
        if result.failed and result.type in TESTS and result.node in nodes
    }
    return {*(result.node for result in results), *tested}


def _all_of(commit: Commit) -> dict[str, PlannedNode]:
    """What a full build of the commit runs."""
    materialized = {model.node: model.materialized for model in commit.models}
    return {
        node.node: PlannedNode(node.node, node.name, node.type, materialized.get(node.node, ""))
        for node in commit.nodes
        if node.enabled and node.type in (*RELATIONS, *TESTS)
    }
