"""The pool makes workers from the fork servers in its slots, and parses for the commit store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mage_dbt.commits.graph_key import GraphKey, dbt_environment
from mage_dbt.commits.parser import Parsing
from mage_dbt.errors import SettingError
from mage_dbt.home import Home
from mage_dbt.model.commit import Commit
from mage_dbt.model.run import new_run_id
from mage_dbt.settings import Settings
from mage_dbt.workers.fork_server import ForkServer, Task
from mage_dbt.workers.job import DESCRIBE, Job
from mage_dbt.workers.slots import MEGABYTE, Slots
from mage_dbt.workers.warm import WarmWorker
from mage_dbt.workers.zygote import Zygotes


class Pool:
    """The pool of one runner; also its `Parser`. Any thread may call any method."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._folder = home.warm
        self.zygotes = Zygotes(str(home.warm))
        self._slots = Slots(
            home.warm,
            settings.runner_fork_servers,
            settings.runner_fork_server_memory_mb * MEGABYTE,
            self.zygotes,
        )

    def begin(self) -> None:
        """Has dbt imported in the background, for the first fork server."""
        with suppress(SettingError):  # a secret cannot be read: each run reports it
            self.zygotes.begin(dbt_environment(os.environ))

    def worker(self, job: Job) -> WarmWorker:
        """A worker for this job; it starts when it plans."""
        return WarmWorker(job, self._slots)

    @contextmanager
    def parse(
        self, key: GraphKey, folder: Path, environment: Mapping[str, str], packages: Path
    ) -> Iterator[Parsing]:
        """See `Parser`."""
        arguments = (
            *key.dbt_arguments,
            *("--log-path", str(folder / "logs")),
            *("--target-path", str(folder / "target")),
        )
        task = Task(arguments, {}, packages=str(packages), describe=True)
        with ForkServer(task, environment, folder, str(folder), self.zygotes) as server:
            yield _NewCommit(self._slots, key, server)

    def describe(
        self, commit: Commit, key: GraphKey, variables: Mapping[str, Any], whole: bool = False
    ) -> dict[str, Any]:
        """See `Parser`. A worker answers it."""
        job = Job(
            folder=self._folder / f"graph-{new_run_id(datetime.now(UTC))}",
            commit=commit.sha,
            project=commit.project,
            parsed=commit.parsed,
            dbt_arguments=key.dbt_arguments,
            command=DESCRIBE,
            select=(),
            exclude=(),
            flags=(),
            variables=variables,
            fresh=bool(commit.clock),
            details=whole,
        )
        worker = self.worker(job)
        try:
            return worker.describe()
        finally:
            worker.stop()
            worker.close()
            shutil.rmtree(job.folder, ignore_errors=True)

    def keep(self, key: GraphKey, parsed: Path) -> None:
        """See `Parser`."""
        self._slots.keep(key, parsed)

    def close(self) -> None:
        """Ends zygotes and fork servers. Workers go on."""
        self._slots.close()
        self.zygotes.close()


class _NewCommit:
    """See `Parsing`."""

    def __init__(self, slots: Slots, key: GraphKey, server: ForkServer) -> None:
        self._slots = slots
        self._key = key
        self._server = server

    def answer(self, seconds: float) -> dict[str, Any]:
        return self._server.parsed.result(seconds)

    def keep(self) -> None:
        self._slots.adopt(self._key, self._server.keep())
