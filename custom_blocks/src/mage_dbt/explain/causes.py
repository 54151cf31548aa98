"""Makes the causes of one run's failure, without what depends on later runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from mage_dbt.commits.broken import PROJECT_FILE
from mage_dbt.commits.changes import ROLES
from mage_dbt.explain import excerpt
from mage_dbt.explain.evidence import Evidence, roles_of
from mage_dbt.explain.groups import HOOK, Group
from mage_dbt.explain.refused import failure_of_run
from mage_dbt.explain.since import UNKNOWN, Since, since
from mage_dbt.explain.stale import RELATIONS
from mage_dbt.ledger.failures import PlannedNodes
from mage_dbt.model import plain_words
from mage_dbt.model.explanation import (
    UNCHANGED,
    Cause,
    ChangedFile,
    ChangesNote,
    FailedNode,
    FailingRows,
    FileRole,
    RowsOnDay,
)
from mage_dbt.model.failure import failure_of, object_of
from mage_dbt.model.folded import TESTS
from mage_dbt.model.graph import Graph
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.reason import BY_REFRESH, hint_of
from mage_dbt.model.run import NodeResult, Run

LOOKED_INTO = 20
"""Causes of one run for which git and earlier runs are asked; a run has few, or one for all."""

NOT_LOOKED_INTO = f"{UNKNOWN}the run has more than {LOOKED_INTO} causes, and this is a smaller one"


class Causes:
    """Of one run. `ended` is when each of its nodes did not pass."""

    def __init__(
        self,
        evidence: Evidence,
        run: Run,
        graph: Graph | None,
        planned: PlannedNodes,
        ended: Mapping[str, datetime],
    ) -> None:
        self._evidence = evidence
        self._run = run
        self._graph = graph
        self._planned = planned.nodes
        self._ended = ended
        self._rows: Mapping[str, FailingRows] | None = None

    def of(self, group: Group, in_full: bool) -> Cause:
        """The cause of a group; with `in_full` git and earlier runs are asked too."""
        waiting = tuple(node.name for node in group.skipped if node.type in RELATIONS)
        tests = sum(node.type in TESTS for node in group.skipped)
        if not group.failed:
            failure = failure_of_run(group.reason)
            return _in_words(
                Cause(
                    failure.failure_class,
                    failure.sqlstate,
                    failure.title,
                    failure.signature,
                    (),
                    waiting,
                    tests,
                )
            )
        first = group.failed[0]
        failure = failure_of(first)
        excerpts = self._evidence.excerpts(self._run, group.failed) if in_full else {}
        cause = Cause(
            failure.failure_class,
            failure.sqlstate,
            failure.title,
            failure.signature,
            tuple(self._node(node, excerpts.get(node.node)) for node in group.failed),
            waiting,
            tests,
            changes_note=NOT_LOOKED_INTO,
        )
        cause = _in_words(replace(cause, refresh=self._refresh(cause, first)))
        return self._in_full(cause, first) if in_full else cause

    def _in_full(self, cause: Cause, first: NodeResult) -> Cause:
        found = self._since(first)
        history: tuple[RowsOnDay, ...] = ()
        if found.note in UNCHANGED:
            history = self._evidence.rows(self._run, self._with_what_it_reads(first.node))
        return replace(
            cause,
            passed=found.passed,
            changes=found.changes,
            changes_note=found.note,
            history=history,
            came=self._came(first) if found.note == ChangesNote.NEVER_PASSED else None,
            failing_rows=self._failing_rows().get(first.node) if first.type in TESTS else None,
        )

    def _refresh(self, cause: Cause, first: NodeResult) -> str:
        """The node whose refresh may repair it; empty where none may, or its rows are kept."""
        node = self._graph.nodes.get(first.node) if self._graph else None
        if node is not None and node.keeps_rows:
            return ""
        repairs = plain_words.waits_for_refresh(cause) or first.message.endswith(BY_REFRESH)
        return first.node if repairs else ""

    def _came(self, first: NodeResult) -> ChangedFile | None:
        """The last change of the node's own file; of a hook of the project, of the project's."""
        path, role = PROJECT_FILE, FileRole.PROJECT
        if first.type != HOOK:
            roles = roles_of(self._graph, first.node)
            path = min(roles, key=lambda name: ROLES.index(roles[name]), default="")
            role = roles.get(path, role)
        return self._evidence.last_change(self._run.commit, path, role) if path else None

    def _failing_rows(self) -> Mapping[str, FailingRows]:
        """Of all failed tests, read once."""
        if self._rows is None:
            tests = {node for node in self._ended if node.startswith(("test.", "unit_test."))}
            self._rows = self._evidence.failing_rows(self._run, tests)
        return self._rows

    def _since(self, first: NodeResult) -> Since:
        last = self._evidence.last_pass(self._run, first.node, self._ended[first.node])
        roles = roles_of(self._graph, first.node)
        return since(last, self._run.commit, roles, self._evidence.changed)

    def _node(self, result: NodeResult, shown: excerpt.Excerpt | None) -> FailedNode:
        planned = self._planned.get(result.node)
        tested = self._tested(result)
        return FailedNode(
            result.node,
            result.name,
            result.type,
            planned.path if planned else "",
            result.message,
            shown.line if shown else None,
            shown.lines if shown else (),
            shown.first if shown else 1,
            _name(tested, self._planned, self._graph) if tested else "",
            tested,
            result.status,
            hint_of(result.message),
            object=object_of(result),
        )

    def _tested(self, result: NodeResult) -> str:
        """The unique id of the node that a test tests; empty for what is no test."""
        if result.type not in TESTS:
            return ""
        if self._graph and result.node in self._graph.nodes:
            return self._graph.nodes[result.node].tested
        planned = self._planned.get(result.node)
        return next(iter(planned.depends_on), "") if planned else ""

    def _with_what_it_reads(self, node: str) -> list[str]:
        """The node, or what a test tests, and the relations that it reads."""
        planned = self._planned.get(node)
        graph_node = self._graph.nodes.get(node) if self._graph else None
        start = [node]
        if graph_node and graph_node.tested:
            start.append(graph_node.tested)
            graph_node = self._graph.nodes.get(graph_node.tested) if self._graph else None
        reads = graph_node.reads if graph_node else planned.depends_on if planned else ()
        return list(dict.fromkeys((*start, *reads)))


def may_be_known_later(note: str) -> bool:
    """Whether git or the graph may tell another time what a cause's note leaves open."""
    return note.startswith(UNKNOWN) and note not in (ChangesNote.NEVER_PASSED, NOT_LOOKED_INTO)


def _in_words(cause: Cause) -> Cause:
    return replace(cause, sentence=plain_words.sentence(cause), advice=plain_words.advice(cause))


def _name(node: str, planned: Mapping[str, PlannedNode], graph: Graph | None) -> str:
    if node in planned:
        return planned[node].name
    if graph and node in graph.nodes:
        return graph.nodes[node].name
    return node.rsplit(".", 1)[-1]
