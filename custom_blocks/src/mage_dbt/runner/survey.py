"""Keeps a survey of the warehouse: which tables lack columns of their models, and what is kept.

A worker looks, in the background: when another commit is live, and after a run that may have
changed the answer. There is one such worker at a time, and no run waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

from mage_dbt.base.lists import short_list
from mage_dbt.base.redaction import scrub
from mage_dbt.commits.store import Commits
from mage_dbt.errors import NotFound, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.model.commit import Commit
from mage_dbt.model.plan import Plan
from mage_dbt.model.request import Operation
from mage_dbt.model.run import Run
from mage_dbt.model.survey import Survey
from mage_dbt.runner.questions import Questions
from mage_dbt.runner.resolved_request import ResolvedRequest
from mage_dbt.runner.run_folders import RunFolders
from mage_dbt.settings import Settings
from mage_dbt.workers.job import SURVEY
from mage_dbt.workers.pool import Pool

log = logging.getLogger(__name__)

LONGEST_SECONDS = 600.0
"""How long a worker may look: models may ask the warehouse anything while they compile."""

RETRY_SECONDS = 300.0
"""Before another look after one that failed."""

CHANGES = (Operation.FULL_REFRESH, Operation.UNDO_REFRESH)
"""Operations that change columns of tables, or what is kept."""


class Surveys:
    """The latest survey of one runner. One thread calls `poll`; everything else any thread."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        pool: Pool,
        commits: Commits,
        folders: RunFolders,
        ledger: Ledger,
    ) -> None:
        self._questions = Questions(settings, home, pool, folders, LONGEST_SECONDS)
        self._commits = commits
        self._ledger = ledger
        self._guard = threading.Lock()
        self._over: list[str] = []
        """Runs that have ended since the last poll."""
        self._looked_at: Commit | None = None
        self._again_at: float | None = None
        """When to look once more at the same commit; on the monotonic clock."""
        self._latest: Survey | None = None

    @property
    def latest(self) -> Survey | None:
        """The last survey, perhaps of the commit before; None before the first."""
        return self._latest

    def run_over(self, run: str) -> None:
        """The run is over; the next poll finds out whether it may have changed the answer."""
        with self._guard:
            self._over.append(run)

    def stop(self) -> None:
        """Ends the worker that looks, if there is one; none comes after it."""
        self._questions.stop()

    def with_warnings(self, resolved: ResolvedRequest, plan: Plan) -> Plan:
        """The plan of a full build, with warnings on its models whose tables have other columns."""
        latest = self._latest
        if latest is None or not resolved.is_full_build or latest.commit != plan.commit:
            return plan
        changed = latest.of({node.node for node in plan.nodes})
        return replace(plan, warnings=(*plan.warnings, *(model.question for model in changed)))

    def poll(self) -> None:
        """Looks, if there is a reason to. Raises LedgerUnreachable; the next poll asks again."""
        self._take_ended()
        live = self._commits.live
        if live is None or self._questions.stopped:
            return
        due = self._again_at is not None and time.monotonic() >= self._again_at
        if live is self._looked_at and not due:
            return
        self._looked_at, self._again_at = live, None
        self._latest, failed = self._survey(live)
        if failed:
            self._again_at = time.monotonic() + RETRY_SECONDS

    def _take_ended(self) -> None:
        with self._guard:
            over = list(self._over)
        for run in over:
            try:
                changed = self._may_change(self._ledger.run(run))
            except NotFound:  # forgotten since
                changed = False
            if changed:
                self._again_at = time.monotonic()
            with self._guard:
                self._over.remove(run)

    def _may_change(self, run: Run) -> bool:
        if run.operation in CHANGES or run.request.is_full_build:
            return True
        return self._latest is not None and bool(self._latest.of({node.node for node in run.nodes}))

    def _survey(self, commit: Commit) -> tuple[Survey, bool]:
        """The survey now, and whether it failed."""
        now = datetime.now(UTC)
        if commit.adapter != "postgres":
            unknown = f"On {commit.adapter} tables are not compared with their models."
            return Survey(commit.sha, now, unknown=unknown), False
        try:
            answer = self._questions.ask(commit, SURVEY)
        except Exception as error:  # whatever it is, `status` must show it, and another look follow
            why = error.message if isinstance(error, WorkspaceError) else repr(error)
            why = scrub(why)
            log.warning("survey of %s: %s", commit.sha[:7], why, exc_info=True)
            unknown = f"Tables could not be compared with their models: {why}"
            kept = self._latest.kept if self._latest else ()
            return Survey(commit.sha, now, kept=kept, unknown=unknown), True
        survey = Survey.from_json({**answer, "commit": commit.sha, "at": now})
        names = short_list([model.name for model in survey.changed]) or "none"
        log.info("survey of %s: tables with other columns: %s", commit.sha[:7], names)
        return survey, False
