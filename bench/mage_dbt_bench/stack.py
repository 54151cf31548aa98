"""What is measured against: PostgreSQL, git-sync, the runner and Mage, as the workspace runs them.

All of it lives in a home of its own under WORKSPACE_HOME and on ports of its own, so that it meets
no workspace that is running. Only the environments are the workspace's.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from mage_dbt.base.database_url import for_mage
from mage_dbt.base.secret_files import read_or_make
from mage_dbt.client.client import RunnerClient
from mage_dbt.commits.graph_key import dbt_environment
from mage_dbt.commits.profile import Profile
from mage_dbt.home import Home
from mage_dbt.launcher import programs
from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.launcher.programs import Databases
from mage_dbt.launcher.progress import Progress, wait_for
from mage_dbt.launcher.supervisor import Program, Supervisor
from mage_dbt.mage import project as mage_project
from mage_dbt.model.command import Command
from mage_dbt.model.commit import Commit
from mage_dbt.runner.resolved_request import ResolvedRequest
from mage_dbt.settings import Settings
from mage_dbt.workers.job import Job
from mage_dbt_bench.project import Project
from mage_dbt_bench.usage import tree

READY_SECONDS = 1800.0
"""For the runner's first parse; 10,000 nodes on a slow machine take minutes."""

CALLER = "bench"


class Stack:
    """One bench's processes. `start`, then measure, then `stop`."""

    def __init__(self, main: Home, project: Project, progress: Progress) -> None:
        """`main` is the workspace whose environments are used."""
        self.home = Home(main.root / "bench")
        self.project = project
        self.progress = progress
        self._main = main
        ports = zip(("POSTGRES_PORT", "RUNNER_PORT", "MAGE_PORT"), free_ports(3), strict=True)
        self.settings = Settings.load(
            {
                "WORKSPACE_HOME": str(self.home.root),
                "DBT_METRIC_REPO": str(project.folder),
                "DBT_METRIC_POLL_SECONDS": "0.5",
                **{name: os.environ.get(name) or str(port) for name, port in ports},
            },
            self.home.root / "no.env",
        )
        self._runs = itertools.count(1)
        self.last_folder = self.home.runs
        self.runner_settings: dict[str, str] = {}
        """What the runner has been given since, beside its settings."""

    def start(self) -> None:
        """Everything but Mage; returns when the runner has parsed the project."""
        for folder in (self.home.logs, self.home.runs):
            folder.mkdir(parents=True, exist_ok=True)
        if not self.home.environments.exists():
            self.home.environments.symlink_to(self._main.environments.resolve())
        for secret in (self.home.api_token, self.home.runner_to_mage_secret):
            read_or_make(secret)
        self._supervisor = Supervisor(self.home, self.progress)
        self._postgres = Postgres(self.home, self.settings.postgres_port)
        self._postgres.prepare()
        self._supervisor.start(self._postgres.program())
        self._supervisor.wait("postgres")
        self._postgres.prepare_workspace()
        self._postgres.prepare_warehouse()
        self._log_ddl()
        self.warehouse_environment = self._postgres.warehouse_environment()
        os.environ.update(
            self.warehouse_environment
        )  # for the workers and dbts this process starts
        self._databases = Databases(
            for_mage(self._postgres.url("mage")),
            self._postgres.url("runner"),
            self.warehouse_environment,
            self._postgres.notebook_environment(),
        )
        _git(self.project.folder, "init", "--quiet", "--initial-branch=main")
        self.publish("A project to measure")
        self._supervisor.start(programs.git_sync(self.settings, self.home))
        self._supervisor.wait("git-sync")
        runner = programs.runner(self.settings, self.home, self._databases)
        renew = partial(self._with_runner_settings, runner.environment)
        self._supervisor.start(replace(runner, renew=renew))
        self._supervisor.wait("runner")
        self.client = RunnerClient(self.home.runner_socket)
        self.profile = Profile.of(self.settings, self.home)
        self.commit = self._live()

    def publish(self, message: str) -> str:
        """Commits what the project's folder holds, for git-sync to find; gives the SHA."""
        folder = self.project.folder
        _git(folder, "add", "--all")
        _git(folder, "commit", "--quiet", "--message", message)
        return _git(folder, "rev-parse", "HEAD")

    def restart_runner(self, settings: Mapping[str, str]) -> None:
        """Ends the runner; it comes back with these settings changed, and the commit live."""
        self.runner_settings.update(settings)
        before = self._states()["runner"]
        psutil.Process(before["pid"]).children()[0].terminate()

        def probe() -> bool | str:
            now = self._states()["runner"]
            back = now["restarts"] > before["restarts"] and now["state"] == "up"
            return back or f"it is {now['state']}"

        wait_for("the runner to be back", probe, READY_SECONDS, self.progress)
        self._live()

    def start_mage(self) -> None:
        """Mage with the workspace's pipelines, once."""
        mage_project.install(self.settings, self.home)
        self.start_program(programs.mage(self.settings, self.home, self._databases))

    def start_program(self, program: Program) -> None:
        """Keeps one more process running, until `stop`."""
        self._supervisor.start(program)
        self._supervisor.wait(program.name)

    def stop(self) -> None:
        first = [name for name in self.pids() if name not in ("runner", "postgres")]
        self._supervisor.stop((first, ("runner",), ("postgres",)))

    def job(self, model: str | None) -> Job:
        """A run's job as the runner would write it, in a new folder (`last_folder`)."""
        resolved = ResolvedRequest(
            commit=self.commit,
            command=Command("build", select=(model,) if model else ()),
            variables={},
            target=self.commit.target,
            caller=CALLER,
            notices=(),
        )
        self.last_folder = self.home.runs / f"bench-{next(self._runs):05}"
        return resolved.job(self.last_folder, self.profile)

    def dbt_environment(self) -> dict[str, str]:
        """For a process with dbt in it: the same for every contender."""
        return dbt_environment(os.environ)

    def warehouse_arguments(self) -> dict[str, Any]:
        """For a driver: the warehouse, as the role that dbt has."""
        given = self.warehouse_environment
        return {
            "host": given["WAREHOUSE_HOST"],
            "port": given["WAREHOUSE_PORT"],
            "user": given["WAREHOUSE_USER"],
            "password": self.dbt_environment()["DBT_ENV_SECRET_WAREHOUSE_PASSWORD"],
            "dbname": given["WAREHOUSE_DBNAME"],
        }

    def superuser_url(self) -> str:
        """Of the warehouse, for what no role of the workspace may see."""
        password = quote(read_or_make(self.home.secrets / "postgres-superuser"), safe="")
        port = self.settings.postgres_port
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/{WAREHOUSE}"

    def ledger_url(self) -> str:
        """Of the workspace's database, as the ledger's owner."""
        return self._postgres.url("ledger")

    def warehouse(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(**self.warehouse_arguments())

    @property
    def postgres_log(self) -> Path:
        return self.home.logs / "postgres.log"

    def pid(self, name: str) -> int:
        """Of the subreaper of one of the programs."""
        return self.pids()[name]

    def processes(self) -> dict[str, list[psutil.Process]]:
        """All processes of the workspace that run now, by the name of what they belong to."""
        return {name: tree(pid) for name, pid in self.pids().items()}

    def pids(self) -> dict[str, int]:
        """Of the subreapers, by name."""
        return {name: state["pid"] for name, state in self._states().items() if state["pid"]}

    def _states(self) -> dict[str, Any]:
        """What the supervisor says of each program."""
        if not self.home.processes.exists():
            return {}  # nothing is started yet
        return {state["name"]: state for state in json.loads(self.home.processes.read_text())}

    def _with_runner_settings(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        return {**environment, **self.runner_settings}

    def _live(self) -> Commit:
        def probe() -> list[Path] | str:
            status = self.client.status().to_json()
            if status["broken"]:
                raise RuntimeError(status["broken"]["message"])
            found = list(self.home.commits.glob("*/ready.json"))
            return found if status["live"] and found else "the runner is parsing"

        found = wait_for("the project to be parsed", probe, READY_SECONDS, self.progress)
        return Commit.read(found[0].parent)

    def _log_ddl(self) -> None:
        """Has the server log when each CREATE of dbt's role begins, whoever sends it."""
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("alter role dbt in database {} set log_statement = 'ddl'").format(
                    sql.Identifier(WAREHOUSE)
                )
            )


def fresh(home: Home) -> None:
    """Removes what an earlier bench left; read-only folders of commits too."""
    folder = home.root / "bench"
    if not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o700)
    shutil.rmtree(folder)


def _git(folder: Path, *words: str) -> str:
    """What git says."""
    author = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    command = ["git", "-C", str(folder), *author, *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(one.getsockname()[1]) for one in listeners]
    for one in listeners:
        one.close()
    return found
