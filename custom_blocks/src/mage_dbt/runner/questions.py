"""Questions about a commit that a worker answers in the background; nothing is run, nobody waits.

One question is answered at a time by each `Questions`.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

from mage_dbt.commits.profile import Profile
from mage_dbt.errors import WorkspaceError
from mage_dbt.home import Home
from mage_dbt.model.commit import Commit
from mage_dbt.model.run import new_run_id
from mage_dbt.runner.run_folders import PREVIEW, RunFolders
from mage_dbt.settings import Settings
from mage_dbt.workers.job import Job
from mage_dbt.workers.pool import Pool
from mage_dbt.workers.warm import WarmWorker


class Questions:
    """Asks workers. One thread calls `ask`; everything else any thread."""

    def __init__(
        self, settings: Settings, home: Home, pool: Pool, folders: RunFolders, seconds: float
    ) -> None:
        """`seconds` is how long a worker may take."""
        self._settings = settings
        self._home = home
        self._pool = pool
        self._folders = folders
        self._seconds = seconds
        self._guard = threading.Lock()
        self._worker: WarmWorker | None = None
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether no further question is answered."""
        return self._stopped

    def stop(self) -> None:
        """Ends the worker that answers, if there is one; none comes after it."""
        with self._guard:
            self._stopped = True
            worker = self._worker
        if worker is not None:
            worker.stop()

    def ask(self, commit: Commit, command: str) -> dict[str, Any]:
        """The worker's answer to a job with this command, on the commit as runs see it.

        Raises RequestError with dbt's message, WorkspaceError when there is no answer.
        """
        profile = Profile.of(self._settings, self._home)
        job = Job(
            folder=self._home.runs / f"{PREVIEW}{new_run_id(datetime.now(UTC))}",
            commit=commit.sha,
            project=commit.project,
            parsed=commit.parsed,
            dbt_arguments=profile.for_project(commit.project),
            command=command,
            select=(),
            exclude=(),
            flags=(),
            variables={},
            target=commit.target,
            fresh=bool(commit.clock),
        )
        self._folders.take(job)
        worker: WarmWorker | None = None
        try:
            worker = self._pool.worker(job)
            with self._guard:
                if self._stopped:
                    raise WorkspaceError("The runner is being stopped.")
                self._worker = worker
            limit = threading.Timer(self._seconds, worker.stop)
            limit.daemon = True
            limit.start()
            try:
                return worker.describe()
            finally:
                limit.cancel()
        finally:
            with self._guard:
                self._worker = None
            if worker is not None:
                worker.stop()
                worker.close()
            self._folders.remove(job.folder)
