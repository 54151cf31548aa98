"""Gives one of the workspace's own secrets a new value, while everything stays up.

    ./scripts/rotate warehouse | notebooks | mage | runner | ledger | superuser |
                     api-token | cookies [--now]

A role's password is changed in the embedded PostgreSQL and in its file at once; whoever reads the
file at its start is started again. docs/secrets.md says who holds what, and how the secrets that
others made are changed.
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

from mage_dbt.client import RunnerClient
from mage_dbt.errors import MachineError, Unavailable, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.settings import Settings
from mage_dbt.workspace import ports
from mage_dbt.workspace.postgres import SUPERUSER, Postgres
from mage_dbt.workspace.progress import Progress, wait_for
from mage_dbt.workspace.secret_files import new_secret, replace_secret

PATIENCE = 1800.0
"""Seconds that runs may take to be over."""

RESTART_SECONDS = 180.0

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Secret:
    """One secret: the role whose password it is, or its file, and who has to start again to read
    it anew.

    `idle`: dbt connects anew for each node, so no run may be going on; nor may one be when the
    runner is started again.
    """

    role: str | None = None
    file: str | None = None
    restarts: str | None = None
    idle: bool = False


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
    """Makes a new value and brings it to whoever needs it. `now` does not wait for runs to be over.

    Raises MachineError when PostgreSQL is not there to be told, or runs are not over in time.
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
    """Ends one process of the running workspace; its supervisor starts it again, and nothing else.

    False when it does not run: its next start reads the new value.
    """
    before = _processes(home).get(name)
    if before is None:
        return False
    # The process and not its keeper, which its supervisor would take for stopped by us.
    for child in psutil.Process(before["pid"]).children():
        child.terminate()

    def probe() -> bool | str:
        now = _processes(home).get(name, {})
        again = now.get("restarts", 0) > before["restarts"] and now.get("state") == "up"
        return again or f"{name} is {now.get('state')}"

    return wait_for(f"{name} to be back", probe, RESTART_SECONDS, progress)


def _processes(home: Home) -> dict[str, dict[str, Any]]:
    """What the running start tells of each of its processes, by name; nothing when none runs."""
    try:
        return {one["name"]: one for one in json.loads(home.processes.read_text())}
    except FileNotFoundError:
        return {}


def _idle(home: Home) -> Callable[[], bool | str]:
    client = RunnerClient(home.runner_socket)

    def probe() -> bool | str:
        try:
            active = client.status()["active_runs"]
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
