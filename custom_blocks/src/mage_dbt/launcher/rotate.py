"""Gives one of the workspace's own secrets a new value, while everything stays up.

    ./scripts/rotate warehouse | notebooks | mage | runner | ledger | superuser |
                     api-token | cookies [--now]

A role's password changes in the embedded PostgreSQL and in its file together. A program that reads
the file at its start is restarted. docs/secrets.md says who holds which secret, and how to change
those that others made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg

from mage_dbt.base.secret_files import new_secret, replace_secret
from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import MachineError, Unavailable, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.launcher import ports
from mage_dbt.launcher.database_roles import SUPERUSER
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.launcher.progress import Progress, wait_for
from mage_dbt.settings import Settings

PATIENCE = 1800.0
"""Seconds until the last run must have ended."""

RESTART_SECONDS = 180.0

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A secret of the workspace: the password of a role, or the content of a file."""

    role: str | None = None
    file: str | None = None
    restarts: str | None = None
    """The program that reads it only at its start."""
    idle: bool = False
    """Whether it waits for runs to end: dbt connects anew for each node, and a restart of the
    runner would end them."""


SECRETS = {
    "warehouse": Secret(role="dbt", idle=True),
    "notebooks": Secret(role="analyst", restarts="mage"),
    "mage": Secret(role="mage", restarts="mage"),
    "runner": Secret(role="runner", restarts="runner", idle=True),
    "ledger": Secret(role="ledger"),
    "superuser": Secret(role=SUPERUSER),
    "api-token": Secret(file="api-token", restarts="runner", idle=True),
    "cookies": Secret(file="cookie-people", restarts="proxy-people"),
}


def rotate(name: str, settings: Settings, home: Home, now: bool, say: Say) -> None:
    """Makes a new value and hands it to whoever needs it. With `now` it does not wait for runs.

    Raises MachineError when PostgreSQL does not answer, or runs do not end in time.
    """
    secret = SECRETS[name]
    progress = Progress(psutil.Process().create_time())
    if secret.role and not ports.needs_postgres(settings):
        raise MachineError(
            "PostgreSQL is not the workspace's own here.", "docs/secrets.md says what to change."
        )
    if secret.idle and not now:
        wait_for("no run to be going on", _idle(home), PATIENCE, progress)
    if secret.file:
        replace_secret(home.secrets / secret.file, new_secret())
    elif secret.role:
        postgres = Postgres(home, settings.postgres_port)
        try:
            postgres.change_password(secret.role)
        except psycopg.OperationalError as error:
            raise MachineError(
                f"PostgreSQL does not answer: {str(error).strip()}", "Start the workspace first."
            ) from None
    if secret.restarts and restart(secret.restarts, home, progress):
        say(f"{secret.restarts} was started again with it")
    say(f"{name}: the new value is in {home.secrets}, the old one is worth nothing now")


def restart(name: str, home: Home, progress: Progress) -> bool:
    """Restarts one program of the running workspace, by its supervisor.

    Returns False when it does not run: its next start reads the new value.
    """
    before = _processes(home).get(name)
    if before is None:
        return False
    # The program and not its subreaper: its end alone is what the supervisor restarts after.
    for child in psutil.Process(before["pid"]).children():
        child.terminate()

    def probe() -> bool | str:
        now = _processes(home).get(name, {})
        again = now.get("restarts", 0) > before["restarts"] and now.get("state") == "up"
        return again or f"{name} is {now.get('state')}"

    return wait_for(f"{name} to be back", probe, RESTART_SECONDS, progress)


def _processes(home: Home) -> dict[str, dict[str, Any]]:
    """The state of each program of the running start, by name; empty when none runs."""
    try:
        return {state["name"]: state for state in json.loads(home.processes.read_text())}
    except FileNotFoundError:
        return {}


def _idle(home: Home) -> Callable[[], bool | str]:
    client = RunnerClient(home.runner_socket)

    def probe() -> bool | str:
        try:
            active = client.status().active_runs
        except Unavailable:
            return True  # no runner, no run
        return not active or f"{len(active)} are going on; --now does not wait for them"

    return probe


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./scripts/rotate",
        description="Gives one of the workspace's secrets a new value, while everything stays up.",
        epilog="docs/secrets.md: who holds which secret, and how the others are changed.",
    )
    parser.add_argument("secret", choices=SECRETS)
    parser.add_argument("--now", action="store_true", help="do not wait for runs to be over")
    arguments = parser.parse_args()
    try:
        settings = Settings.load()
        rotate(arguments.secret, settings, Home(settings.workspace_home), arguments.now, print)
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
