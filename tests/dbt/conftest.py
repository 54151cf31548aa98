"""A runner with real PostgreSQL, git and dbt, without Mage: supervised as in the workspace."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from mage_dbt.client import RunnerClient
from mage_dbt.database_url import for_mage
from mage_dbt.home import Home
from mage_dbt.request import Request
from mage_dbt.run import Run
from mage_dbt.settings import Settings
from mage_dbt.workspace import programs
from mage_dbt.workspace.postgres import WAREHOUSE, Postgres
from mage_dbt.workspace.programs import Databases
from mage_dbt.workspace.progress import Progress, wait_for
from mage_dbt.workspace.secret_files import read_or_make
from mage_dbt.workspace.supervisor import Program, Supervisor
from tests.live import free_ports

PROJECTS = Path(__file__).parents[1] / "projects"

READY_SECONDS = 120.0
RUN_SECONDS = 180.0


@dataclass
class Stack:
    """One runner with everything it needs, on a repository of its own."""

    settings: Settings
    home: Home
    repository: Path
    postgres: Postgres
    supervisor: Supervisor
    progress: Progress
    runner_environment: dict[str, str]
    """What the runner finds beside what it always does, from its next start on."""
    client: RunnerClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = RunnerClient(self.home.runner_socket)

    def commit(self, message: str, **files: str | None) -> str:
        """Writes models (`name="select 1"`; None removes) and commits; gives the SHA."""
        for name, text in files.items():
            path = self.repository / "models" / f"{name}.sql"
            path.unlink() if text is None else path.write_text(text)
        return git_commit(self.repository, message)

    def live(self, sha: str) -> dict[str, Any]:
        """Waits until the commit is the live one; gives the status."""

        def right(status: dict[str, Any]) -> bool:
            broken = status["broken"]
            assert not (broken and broken["sha"] == sha), broken["message"]
            return bool(status["live"] and status["live"]["sha"] == sha)

        return self.until(f"commit {sha[:7]} to be live", right)

    def until(self, what: str, right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        def probe() -> dict[str, Any] | str:
            status = self.client.status()
            return status if right(status) else f"{status['live']}, {status['broken']}"

        return wait_for(what, probe, READY_SECONDS, self.progress)

    def restart_runner(self, signum: int = signal.SIGTERM, **environ: str) -> None:
        """Ends the runner; the supervisor starts it again, with these settings changed."""
        self.runner_environment.update(environ)
        before = self.process("runner")
        psutil.Process(before["pid"]).children()[0].send_signal(signum)

        def probe() -> bool | str:
            now = self.process("runner")
            return (now["restarts"] > before["restarts"] and now["state"] == "up") or str(now)

        wait_for("the runner to be back", probe, READY_SECONDS, self.progress)

    def process(self, name: str) -> dict[str, Any]:
        """What the supervisor tells of one of its processes."""
        found = json.loads(self.home.processes.read_text())
        return next(one for one in found if one["name"] == name)

    def ask(self, **request: Any) -> Run:
        """Asks for a run and does not wait for it."""
        return self.client.submit(Request.parse({"cause": "tool", "caller": "test", **request}))

    def over(self, run: Run) -> Run:
        """Waits for a run's final state."""

        def probe() -> Run | str:
            now = self.client.run(run.id)
            return now if now.state.final else f"{now.state} {now.detail}"

        return wait_for(f"run {run.id} to be over", probe, RUN_SECONDS, self.progress)

    def run(self, **request: Any) -> Run:
        return self.over(self.ask(**request))

    def running(self, run: Run, sql: str) -> None:
        """Waits until the run's SQL that holds the words `sql` is at work in the database."""

        def probe() -> bool | str:
            return bool(self.at_work(sql)) or f"{self.client.run(run.id).state}, no such query"

        wait_for(f"{sql} to run", probe, RUN_SECONDS, self.progress)

    def at_work(self, sql: str) -> list[Any]:
        return self.query(
            "select pid from pg_stat_activity where state = 'active' and query like %s"
            " and pid <> pg_backend_pid()",
            f"%{sql}%",
        )

    def execute(self, sql: str) -> None:
        """Changes something in the warehouse, as its owner."""
        with psycopg.connect(self.postgres.url("dbt"), dbname=WAREHOUSE) as connection:
            connection.execute(sql)

    def query(self, sql: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.postgres.url("dbt"), dbname=WAREHOUSE) as connection:
            return connection.execute(sql, values).fetchall()


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [
            "git",
            "-C",
            str(folder),
            *("-c", "user.name=Kim"),
            *("-c", "user.email=kim@example.com"),
            *arguments,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def git_commit(repository: Path, message: str) -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(repository, "rev-parse", "HEAD")


def make_repository(folder: Path, project: str) -> Path:
    """A git repository on branch main with one of `tests/projects`."""
    shutil.copytree(PROJECTS / project, folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git_commit(folder, "Begin")
    return folder


def start_stack(folder: Path, **environ: str) -> Stack:
    """Starts PostgreSQL, git-sync and the runner; end it with `stop_stack`."""
    postgres_port, runner_port, mage_port = free_ports(3)
    settings = Settings.load(
        {
            "WORKSPACE_HOME": str(folder / "home"),
            "DBT_METRIC_POLL_SECONDS": "0.5",
            "POSTGRES_PORT": str(postgres_port),
            "RUNNER_PORT": str(runner_port),
            "MAGE_PORT": str(mage_port),
            **environ,
        },
        folder / "no.env",
    )
    home = Home(settings.workspace_home)
    for one in (home.logs, home.root):
        one.mkdir(parents=True, exist_ok=True)
    read_or_make(home.api_token)
    progress = Progress(0)
    supervisor = Supervisor(home, progress)
    postgres = Postgres(home, postgres_port)
    postgres.prepare()
    supervisor.start(postgres.program())
    supervisor.wait("postgres")
    postgres.prepare_workspace()
    postgres.prepare_warehouse()

    def runner() -> Program:
        mage, ledger = for_mage(postgres.url("mage")), postgres.url("runner")
        databases = Databases(mage, ledger, postgres.warehouse_environment())
        return programs.runner(settings, home, databases)

    changed: dict[str, str] = {}
    if settings.dbt_metric_repo:
        supervisor.start(programs.git_sync(settings, home))
        supervisor.wait("git-sync")
    supervisor.start(replace(runner(), renew=lambda: {**runner().environment, **changed}))
    supervisor.wait("runner")
    repository = Path(settings.dbt_metric_repo or "")
    return Stack(settings, home, repository, postgres, supervisor, progress, changed)


def stop_stack(stack: Stack) -> None:
    stack.supervisor.stop((("git-sync",), ("runner",), ("postgres",)))


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The module's runner on `tests/projects/<PROJECT>` (the module names it)."""
    folder = tmp_path_factory.mktemp("stack")
    repository = make_repository(folder / "repository", request.module.PROJECT)
    stack = start_stack(folder, DBT_METRIC_REPO=str(repository))
    try:
        stack.live(git(repository, "rev-parse", "HEAD"))
        yield stack
    finally:
        stop_stack(stack)
