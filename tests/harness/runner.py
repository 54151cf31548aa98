"""A runner with real PostgreSQL, git and dbt, without Mage: supervised as in the workspace."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from mage_dbt.base.database_url import for_mage
from mage_dbt.base.secret_files import read_or_make
from mage_dbt.home import Home
from mage_dbt.launcher import programs
from mage_dbt.launcher.programs import Databases
from mage_dbt.launcher.supervisor import Program, Supervisor
from mage_dbt.model.run import Run, RunState
from mage_dbt.settings import Settings
from tests.harness import database
from tests.harness.base import command_line, parent_of
from tests.harness.database import Database
from tests.harness.ports import free_ports
from tests.harness.repository import git, make_repository
from tests.harness.runs import READY_SECONDS, WithRunner
from tests.harness.waiting import SECONDS, progress, wait_until


class Runner(WithRunner):
    """One runner with everything it needs, on a repository and in databases of its own."""

    def __init__(self, settings: Settings, server: Database) -> None:
        self.settings = settings
        self.home = Home(settings.workspace_home)
        self.repository = Path(settings.dbt_metric_repo or "")
        self.server = server
        self.postgres = server.postgres
        alone = server.home == self.home
        self.supervisor = server.supervisor if alone else Supervisor(self.home, progress())
        self.runner_environment: dict[str, str] = {}
        """What the runner finds beside what it always does, from its next start on."""

    def start(self) -> None:
        """Starts git-sync, where there is a repository, and the runner."""
        for folder in (self.home.logs, self.home.root):
            folder.mkdir(parents=True, exist_ok=True)
        self.server.share_secrets(self.home)
        read_or_make(self.home.api_token)
        if self.settings.dbt_metric_repo:
            self.supervisor.start(programs.git_sync(self.settings, self.home))
        renewed = replace(
            self._program(),
            renew=lambda: {**self._program().environment, **self.runner_environment},
        )
        self.supervisor.start(renewed)
        if self.settings.dbt_metric_repo:
            self.supervisor.wait("git-sync")
        self.supervisor.wait("runner")

    def stop(self) -> None:
        self.supervisor.stop((("git-sync",), ("runner",)))

    def restart_runner(self, signum: int = signal.SIGTERM, **environ: str) -> None:
        """Ends the runner; the supervisor starts it again, with these settings changed."""
        self.runner_environment.update(environ)
        before = self.process("runner")
        self.itself().send_signal(signum)

        def probe() -> bool | str:
            now = self.process("runner")
            return (now["restarts"] > before["restarts"] and now["state"] == "up") or str(now)

        wait_until("the runner to be back", probe, READY_SECONDS)

    def itself(self) -> psutil.Process:
        """The runner's own process. Its subreaper has other children too, adopted ones."""
        children = psutil.Process(self.process("runner")["pid"]).children()
        return next(one for one in children if "mage_dbt.server" in command_line(one))

    def daily_build(self) -> Run:
        """The daily build, which is due and passes."""
        run = self.run(cause="schedule", caller="Mage, trigger daily")
        assert run.state is RunState.SUCCESS and run.morning, run.detail
        return run

    def tool(self, *arguments: str, **environ: str) -> str:
        """What the tool prints."""
        done = subprocess.run(
            [sys.executable, "-m", "mage_dbt.tool", *arguments],
            env={"PATH": os.environ["PATH"], **environ, **self.settings.as_environment()},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return done.stdout + done.stderr

    def how(self, run: Run) -> str:
        """How the run's worker was started, by its record."""
        query = "select data ->> 'worker' from ledger.event where run = %s and kind = 'plan'"
        return str(self.rows("ledger", query, run.id)[-1][0])

    def fork_servers(self) -> list[psutil.Process]:
        """The fork servers of commits that were parsed when they came.

        A worker that was forked just now has its fork server's command line, and is none.
        """
        words = f"mage_dbt.dbt.process fork-server {self.home.commits}"
        found = {one.pid: one for one in psutil.process_iter() if words in command_line(one)}
        return [one for one in found.values() if parent_of(one) not in found]

    @contextmanager
    def packages_held(self) -> Iterator[None]:
        """dbt's process of a new commit that has packages waits for their store meanwhile."""
        self.home.packages.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.home.packages, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def process(self, name: str) -> dict[str, Any]:
        """What the supervisor tells of one of its processes."""
        found = json.loads(self.home.processes.read_text())
        return next(one for one in found if one["name"] == name)

    def _program(self) -> Program:
        mage, ledger = for_mage(self.postgres.url("mage")), self.postgres.url("runner")
        databases = Databases(mage, ledger, self.postgres.warehouse_environment())
        return programs.runner(self.settings, self.home, databases)


def due_at_midnight() -> dict[str, str]:
    """Settings by which the daily build is due at midnight, in a zone where that is not soon."""
    zone = "Etc/GMT+9" if datetime.now(UTC).hour >= 16 else "UTC"
    return {"DAILY_BUILD_AT": "00:00", "DAILY_BUILD_TIMEZONE": zone}


def begin(folder: Path, server: Database, **environ: str) -> Runner:
    """Starts a runner in new databases of `server`; `stop` it. `environ` are settings."""
    server.renew()
    runner_port, mage_port = free_ports(2)
    settings = Settings.load(
        {
            "WORKSPACE_HOME": str(folder / "home"),
            "DBT_METRIC_POLL_SECONDS": "0.5",
            "POSTGRES_PORT": str(server.port),
            "RUNNER_PORT": str(runner_port),
            "MAGE_PORT": str(mage_port),
            **environ,
        },
        folder / "no.env",
    )
    runner = Runner(settings, server)
    try:
        runner.start()
    except BaseException:
        runner.stop()
        raise
    return runner


@contextmanager
def on_project(
    folder: Path, server: Database | None, project: str, **environ: str
) -> Iterator[Runner]:
    """A runner on one of `tests/projects`, whose first commit is live.

    Without a server it gets its own, in the same home, to stop or to change as the tests like.
    """
    repository = make_repository(folder / "repository", project)
    with ExitStack() as stack:
        if server is None:
            server = stack.enter_context(database.started(folder / "home"))
            server.prepare()
            server.keep_as_templates()
        runner = begin(folder, server, DBT_METRIC_REPO=str(repository), **environ)
        stack.callback(runner.stop)
        runner.live(git(repository, "rev-parse", "HEAD"))
        yield runner
