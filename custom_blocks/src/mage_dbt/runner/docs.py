"""Makes dbt's documentation of the live commit when somebody asks for it.

A worker makes it in the background; it is kept in the commit's folder. One is made at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from mage_dbt.base.redaction import scrub
from mage_dbt.commits.store import Commits
from mage_dbt.errors import WorkspaceError
from mage_dbt.home import Home
from mage_dbt.model.commit import Commit
from mage_dbt.model.docs import DOCS_FILE, Docs, DocsState
from mage_dbt.runner.questions import Questions
from mage_dbt.runner.run_folders import RunFolders
from mage_dbt.settings import Settings
from mage_dbt.workers.job import DOCS
from mage_dbt.workers.pool import Pool

log = logging.getLogger(__name__)

LONGEST_SECONDS = 900.0
"""How long dbt may take: its catalog lists all columns of all schemas."""


class Documentation:
    """The documentation of one runner's live commit. Any method from any thread."""

    def __init__(
        self, settings: Settings, home: Home, pool: Pool, commits: Commits, folders: RunFolders
    ) -> None:
        self._questions = Questions(settings, home, pool, folders, LONGEST_SECONDS)
        self._commits = commits
        self._guard = threading.Lock()
        self._making: Commit | None = None
        self._next: Commit | None = None
        """The live commit, while another one's is being made."""
        self._failed = ("", "")
        """The commit that failed last, and why."""

    def state(self) -> Docs:
        """How far it is; nothing is begun."""
        live = self._commits.live
        with self._guard:
            return self._state(live)

    def ask(self) -> Docs:
        """Has it made, unless it is there or is being made."""
        live = self._commits.live
        with self._guard:
            state = self._state(live)
            waits = state.state is not DocsState.NONE or self._questions.stopped
            if live is None or waits:
                return state
            if self._making is None:
                self._begin(live)
            else:
                self._next = live
            return Docs(DocsState.MAKING, live.sha)

    def file(self) -> Path | None:
        """The page of the live commit, packed with gzip; None while it is not there."""
        live = self._commits.live
        file = live.folder / DOCS_FILE if live else None
        return file if file and file.is_file() else None

    def stop(self) -> None:
        """Ends the worker that makes it, if there is one."""
        self._questions.stop()

    def _state(self, live: Commit | None) -> Docs:
        """Call it with the guard held."""
        if live is None:
            return Docs(DocsState.NONE, None)
        if (live.folder / DOCS_FILE).is_file():
            return Docs(DocsState.READY, live.sha)
        if live.sha in (commit.sha for commit in (self._making, self._next) if commit):
            return Docs(DocsState.MAKING, live.sha)
        sha, error = self._failed
        return Docs(DocsState.NONE, live.sha, error if sha == live.sha else "")

    def _begin(self, commit: Commit) -> None:
        """Call it with the guard held."""
        self._making, self._next = commit, None
        threading.Thread(target=self._make, args=(commit,), name="docs", daemon=True).start()

    def _make(self, commit: Commit) -> None:
        failed = ("", "")
        try:
            begun = time.monotonic()
            answer = self._questions.ask(commit, DOCS)
            for note in answer["notes"]:
                log.warning("docs of %s: %s", commit.sha[:7], scrub(note))
            log.info("docs of %s: made in %.1f s", commit.sha[:7], time.monotonic() - begun)
        except Exception as error:  # whatever it is, the page must show it
            why = scrub(str(error) if isinstance(error, WorkspaceError) else repr(error))
            log.warning("docs of %s: %s", commit.sha[:7], why, exc_info=True)
            failed = (commit.sha, why)
        finally:
            with self._guard:
                self._making, self._failed = None, failed
                if self._next is not None and not self._questions.stopped:
                    self._begin(self._next)
