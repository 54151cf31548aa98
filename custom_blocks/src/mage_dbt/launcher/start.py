"""The second stage of `scripts/start`: starts every program, builds once, and stays.

    ./scripts/start [--once] [--with-login]

The first start of a workspace builds everything once, through Mage, as the daily build does. Later
starts go on where the last one stopped; `--once` builds always, and leaves with the build's exit
status: 0 when every node passed.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil
import psycopg

from mage_dbt.base import secret_values
from mage_dbt.base.clock import Clock
from mage_dbt.base.database_url import for_mage
from mage_dbt.base.secret_files import read_or_make
from mage_dbt.client import report
from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import (
    MachineError,
    RunnerUnreachable,
    SettingError,
    Unavailable,
    WorkspaceError,
)
from mage_dbt.home import Home
from mage_dbt.launcher import demo, lock, login, ports, programs, strays
from mage_dbt.launcher.database_roles import prepare_given
from mage_dbt.launcher.disk import explain, require_room
from mage_dbt.launcher.login import Login
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.launcher.programs import Databases
from mage_dbt.launcher.progress import Progress, wait_for
from mage_dbt.launcher.supervisor import Program, Supervisor
from mage_dbt.mage import project
from mage_dbt.mage.api import MageApi
from mage_dbt.model.request import Cause
from mage_dbt.model.run import RunState
from mage_dbt.model.status import LiveCommit, Status
from mage_dbt.settings import Settings

ROOM_TO_START = 300
"""Megabytes for logs, commits, runs and PostgreSQL's files."""

STOP_ORDER = (
    ("proxy-people", "proxy-machines", "mage", "git-sync"),
    ("runner", "identity-provider"),
    ("postgres",),
)
"""Clients stop before the programs they call."""

ONCE_PATIENCE = 600.0
"""Seconds that `--once` waits for a commit to build, and then for Mage to begin the build."""

MAGE_PATIENCE = 120.0
"""Seconds until Mage has read its triggers, and until it has noted the end of a run."""

OVER_IN_MAGE = ("completed", "failed", "cancelled")

AGAIN_SECONDS = 0.5
"""A signal to stop is repeated after so long, until it is noticed."""


class Start:
    """One start of a workspace, from its lock to its stop."""

    def __init__(self, settings: Settings, once: bool, with_login: bool = False) -> None:
        self._settings = login.development_settings(settings) if with_login else settings
        self._once = once
        self._home = Home(settings.workspace_home)
        self._login = Login.of(self._settings, self._home, development=with_login)
        self._address = f"http://127.0.0.1:{settings.mage_port}"
        if self._settings.login_required:
            self._address = self._settings.mage_address
        # The first stage handed over by exec, so this is when the user pressed Enter.
        self._progress = Progress(psutil.Process().create_time())
        self._supervisor = Supervisor(self._home, self._progress)

    def run(self) -> int:
        """Returns the exit status. Raises WorkspaceError, and KeyboardInterrupt when stopped."""
        with lock.hold(self._home, self._address):
            self._check_machine()
            try:
                return self._work()
            finally:
                self._stop()

    def _work(self) -> int:
        self._start_all()
        client = RunnerClient(self._home.runner_socket)
        status = 0
        if self._once or not client.runs(limit=1):
            self._wait_for_commit(client)
            status = self._build(client)
        else:
            self._say_where_it_stands(client.status())
        if self._once:
            return status
        self._say_who_is_told(client)
        for line in self._login.lines() if self._login else ():
            self._progress.say(line)
        self._progress.say(f"Mage is at {self._address}. Ctrl-C stops everything.")
        threading.Event().wait()
        return status

    def _check_machine(self) -> None:
        home = self._home
        strays.stop_those_of_an_earlier_start(home, self._progress)
        ports.require_free(self._settings, self._login.ports if self._login else None)
        require_room(home.root, ROOM_TO_START)
        for folder in (home.logs, home.mage_data, home.mage_project):
            folder.mkdir(parents=True, exist_ok=True)
        for secret in (
            home.api_token,
            *(home.proxy_people_secret, home.proxy_machines_secret),
            *(home.runner_to_mage_secret, home.mage_jwt_secret),
        ):
            read_or_make(secret)
        if self._login:
            self._login.install(self._progress)

    @property
    def _uses_demo(self) -> bool:
        return self._settings.dbt_metric_repo is None and self._settings.dbt_metric_dir is None

    @property
    def _syncs(self) -> bool:
        return self._settings.dbt_metric_repo is not None or self._settings.dbt_metric_dir is None

    def _start_all(self) -> None:
        settings, home, supervisor = self._settings, self._home, self._supervisor
        postgres = self._start_postgres() if ports.needs_postgres(settings) else None
        if settings.workspace_database_url:
            prepare_given(settings.workspace_database_url)
        databases = self._databases(postgres)
        project.install(settings, home)
        # Mage takes longest, so it starts first; its start needs none of the others.
        supervisor.start(
            self._renewed(lambda now: programs.mage(settings, home, now), databases, postgres)
        )
        if postgres and self._uses_demo and not settings.dbt_profiles_dir:
            began = time.monotonic()
            with self._progress.during("loading the demo's raw data"):
                loaded = postgres.load_demo(demo.RAW_DATA)
            if loaded:
                seconds = time.monotonic() - began
                self._progress.say(f"The demo's raw data is in the warehouse ({seconds:.0f} s)")
        if self._uses_demo and demo.make_repository(home):
            self._progress.say(f"The demo dbt-metric is a git repository: {home.demo_repository}")
        if self._syncs:
            supervisor.start(programs.git_sync(settings, home))
        supervisor.start(
            self._renewed(lambda now: programs.runner(settings, home, now), databases, postgres)
        )
        supervisor.wait("runner")
        self._progress.say("The runner answers")
        if self._syncs:
            supervisor.wait("git-sync")
            self._say_sync_error()
        if self._login:
            self._open_the_doors(self._login)
        supervisor.wait("mage")
        self._progress.say("Mage answers")

    def _open_the_doors(self, login: Login) -> None:
        supervisor = self._supervisor
        if login.development:
            # The proxies ask it for its addresses when they start.
            supervisor.start(login.provider())
            supervisor.wait("identity-provider")
        supervisor.start(login.people())
        supervisor.start(login.machines())
        supervisor.wait("proxy-people")
        supervisor.wait("proxy-machines")
        self._progress.say("The login answers")

    def _start_postgres(self) -> Postgres:
        postgres = Postgres(self._home, self._settings.postgres_port)
        if not self._home.postgres.exists():
            with self._progress.during("making PostgreSQL's data directory"):
                postgres.prepare()
        else:
            postgres.prepare()
        self._supervisor.start(postgres.program())
        self._supervisor.wait("postgres")
        if not self._settings.workspace_database_url:
            postgres.prepare_workspace()
        if not self._settings.dbt_profiles_dir:
            postgres.prepare_warehouse()
        self._progress.say(f"PostgreSQL answers on port {self._settings.postgres_port}")
        return postgres

    def _databases(self, postgres: Postgres | None) -> Databases:
        """The databases as of now, with the passwords that their files hold now."""
        warehouse: dict[str, str] = {}
        notebooks: dict[str, str] = {}
        if postgres and not self._settings.dbt_profiles_dir:
            warehouse = postgres.warehouse_environment()
            notebooks = postgres.notebook_environment()
        if url := self._settings.workspace_database_url:
            if file := self._settings.workspace_database_url_file:
                url = secret_values.read_file(file, "WORKSPACE_DATABASE_URL_FILE")
            return programs.given_databases(url, warehouse, notebooks)
        assert postgres is not None
        return Databases(
            for_mage(postgres.url("mage")), postgres.url("runner"), warehouse, notebooks
        )

    def _renewed(
        self,
        program: Callable[[Databases], Program],
        databases: Databases,
        postgres: Postgres | None,
    ) -> Program:
        """The program, which gets its secrets as they are at each restart."""
        return replace(
            program(databases), renew=lambda: program(self._databases(postgres)).environment
        )

    def _say_sync_error(self) -> str:
        """Prints git-sync's last error, if there is one."""
        folder = self._settings.dbt_metric_dir or self._home.sync
        error = str(_read_json(folder / "status.json").get("error", ""))
        if error:
            self._progress.say(f"{error} It is tried again and again. Log: git-sync.log")
        return error

    def _wait_for_commit(self, client: RunnerClient) -> None:
        announced = ""

        def probe() -> LiveCommit | str:
            nonlocal announced
            try:
                status = client.status()
            except RunnerUnreachable as error:
                return str(error)
            if status.live:
                return status.live
            wrong = str((status.sync or {}).get("error", ""))
            if status.broken:
                wrong = f"{status.broken.message} {status.broken.hint}"
            if wrong and wrong != announced:
                announced = wrong
                self._progress.say(f"No commit can be built yet: {wrong}")
            return wrong or "the commit is being made ready"

        # A user at the terminal can repair it and wait on; a script needs an answer.
        patience = ONCE_PATIENCE if self._once else float("inf")
        live = wait_for("a commit that can be built", probe, patience, self._progress)
        self._progress.say(f"Commit {live.sha[:7]} is ready: {live.holds}, dbt {live.dbt_version}")

    def _build(self, client: RunnerClient) -> int:
        with MageApi(self._settings, self._home) as api:
            trigger = self._trigger_of(api, project.DAILY_PIPELINE)
            number = api.fire(trigger, {"cause": Cause.START})
            self._progress.say(f"Mage runs {project.DAILY_PIPELINE} (pipeline run {number})")

            def probe() -> str | list[str]:
                if found := client.runs(limit=1, mage_run=number):
                    return [found[0].id]
                state = api.pipeline_run(number)["status"]
                if state in OVER_IN_MAGE:
                    raise MachineError(
                        f"Mage's pipeline run {number} is {state} without a run of dbt.",
                        f"See {self._address}/pipelines/{project.DAILY_PIPELINE}/runs/{number}.",
                    )
                return f"Mage says {state}"

            run = wait_for("Mage to begin the build", probe, ONCE_PATIENCE, self._progress)[0]
            finished = report.follow(client, run, _print)

            def over() -> bool | str:
                state = api.pipeline_run(number)["status"]
                return state in OVER_IN_MAGE or f"Mage says {state}"

            # Else `--once` would stop Mage before it has noted how its pipeline run ended.
            wait_for("Mage to note the end of the build", over, MAGE_PATIENCE, self._progress)
        return 0 if finished.state is RunState.SUCCESS else 1

    def _trigger_of(self, api: MageApi, pipeline: str) -> int:
        """The trigger's id. Mage answers some seconds before it has read its triggers."""

        def probe() -> list[int] | str:
            try:
                return [api.api_trigger(pipeline)]
            except Unavailable as error:
                return str(error)

        return wait_for("Mage to know its triggers", probe, MAGE_PATIENCE, self._progress)[0]

    def _say_where_it_stands(self, status: Status) -> None:
        if live := status.live:
            self._progress.say(f"Live commit {live.sha[:7]}: {live.subject}")
        if broken := status.broken:
            self._progress.say(f"The newest commit cannot be built: {broken.message} {broken.hint}")
        if status.schedule and (pause := status.schedule.pause_in_words(datetime.now(UTC))):
            self._progress.say(f"The daily build is {pause}")
        if status.next_morning:
            next_build = Clock(status.zone).say_with_zone(status.next_morning)
            self._progress.say(f"Next daily build: {next_build}")
        self._progress.say(f"The page, with what failed and why: {self._settings.page_address}/")

    def _say_who_is_told(self, client: RunnerClient) -> None:
        try:
            lines = client.status().alerts.told
        except RunnerUnreachable:  # it is being restarted; `mage-dbt status` says it later
            return
        for line in lines:
            self._progress.say(f"Alerts: {line}")

    def _stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._progress.say("Stopping")
        hurry = _no_more_patience(self._supervisor)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, hurry)
        self._supervisor.stop(STOP_ORDER)
        # Whatever got away from its subreaper.
        strays.stop_all(self._home)
        self._progress.say("Everything is stopped")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./scripts/start",
        description="Starts the workspace and stays until Ctrl-C, which stops all it started.",
        epilog="Settings: docs/settings.md. Everything it keeps is under WORKSPACE_HOME.",
    )
    parser.add_argument(
        "--once", action="store_true", help="build, then leave; exit status 0 when all passed"
    )
    parser.add_argument(
        "--with-login",
        action="store_true",
        help="the whole login on this machine, with people of a development identity provider; "
        "needs Go and Node.js, and takes the place of all other LOGIN_ settings",
    )
    arguments = parser.parse_args()
    stop_on_signals()
    try:
        return Start(Settings.load(), arguments.once, arguments.with_login).run()
    except WorkspaceError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2 if isinstance(error, SettingError) else 1
    except psycopg.Error as error:
        print(f"\nPostgreSQL: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\n{explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return 130


def _print(text: str, level: int = logging.INFO) -> None:
    print(text, flush=True)


def stop_on_signals() -> None:
    """From now on a signal to stop, and each AGAIN_SECONDS after it, raises KeyboardInterrupt."""
    # SIGINT too: a script's background job inherits it as ignored, and must still stop.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _interrupt)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    # Python drops an exception in a destructor: without the repetition nothing would stop then.
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
    raise KeyboardInterrupt


def _no_more_patience(supervisor: Supervisor) -> Any:
    def handle(signum: int, frame: FrameType | None) -> None:
        supervisor.hurry()

    return handle


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):  # not there yet
        return {}
    return found if isinstance(found, dict) else {}


if __name__ == "__main__":
    sys.exit(main())
