"""What the ledger, git and a run's folder know of failures: looked up when it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from mage_dbt.commits.changes import changed_files, commits_touching, files_of
from mage_dbt.commits.store import Commits
from mage_dbt.errors import Unavailable
from mage_dbt.explain import excerpt
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.failing_rows import FailingRowsOfRuns
from mage_dbt.ledger.failures import FailureLedger, Pass
from mage_dbt.model.explanation import ChangedFile, FailingRows, FileRole, RowsOnDay
from mage_dbt.model.graph import Graph
from mage_dbt.model.run import NodeResult, Run
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

EXCERPTS = 5
"""Nodes of one cause of which the compiled SQL is shown."""


class Evidence:
    """Of the runs of one ledger. What asks the ledger raises LedgerUnreachable while it is away."""

    def __init__(self, settings: Settings, home: Home, ledger: Ledger, commits: Commits) -> None:
        self._home = home
        self._failures = FailureLedger(ledger)
        self._failing_rows = FailingRowsOfRuns(ledger)
        self._commits = commits
        self._subdir = settings.dbt_metric_subdir
        self._zone = ZoneInfo(settings.daily_build_timezone)

    def graph(self, sha: str) -> Graph | None:
        """The commit's graph; None when it is not there: an explanation without it is better than
        none."""
        try:
            return self._commits.graph(sha)
        except Exception:
            log.exception("the graph of %s", sha[:7])
            return None

    def changed(
        self, old: str, new: str, roles: Mapping[str, FileRole]
    ) -> tuple[ChangedFile, ...] | None:
        """What changed between two commits in some files; None when git cannot tell."""
        try:
            return changed_files(self._commits.history, old, new, self._subdir, roles)
        except (Unavailable, OSError) as error:
            log.warning("changes from %s to %s: %s", old[:7], new[:7], error)
            return None

    def last_change(self, commit: str, path: str, role: FileRole) -> ChangedFile | None:
        """The last commit until this one that changed a file; None when git cannot tell."""
        found = commits_touching(self._commits.history, commit, path, self._subdir, 1)
        if not found:
            return None
        line = found[0]
        return ChangedFile(path, role, line.sha, line.author, line.at, line.subject, "")

    def rows(self, run: Run, nodes: Sequence[str]) -> tuple[RowsOnDay, ...]:
        """The rows of nodes in the daily builds until that of the run's date."""
        day = run.asked_at.astimezone(self._zone).date()
        return self._failures.rows_by_day(nodes, run.target, day)

    def failing_rows(self, run: Run, tests: Collection[str]) -> Mapping[str, FailingRows]:
        """By test, the rows that it found in the run, and which are new since it last failed."""
        if not tests:
            return {}
        kept = self._failing_rows.of_run(run.id)
        before = self._failing_rows.before(list(kept), run.target, run.asked_at) if kept else {}
        return {test: rows.since(before.get(test)) for test, rows in kept.items() if test in tests}

    def last_pass(self, run: Run, node: str, before: datetime) -> Pass | None:
        """The node's last pass before a time."""
        return self._failures.last_passes([node], run.target, before).get(node)

    def excerpts(self, run: Run, failed: Sequence[NodeResult]) -> Mapping[str, excerpt.Excerpt]:
        """By node, the lines of its compiled SQL to which its message points."""
        pointing = [node for node in failed if excerpt.POINTER.search(node.message)][:EXCERPTS]
        folder = self._home.runs / run.id
        if not pointing or not folder.is_dir():
            return {}
        files = self._failures.compiled(run.id, [node.node for node in pointing])
        found = {}
        for node in pointing:
            sql = excerpt.read_sql(folder, files.get(node.node, ""))
            if shown := excerpt.excerpt(sql, node.message):
                found[node.node] = shown
        return found


def roles_of(graph: Graph | None, node: str) -> dict[str, FileRole]:
    """The files of which a node is made, with their roles; none for a node that is not there."""
    return files_of(graph, node) if graph and node in graph.nodes else {}
