"""`python -m mage_dbt.runner`: serves the runner on its Unix socket and on RUNNER_PORT."""

from __future__ import annotations

import logging
import os
import socket
import stat
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

import psycopg
import uvicorn

from mage_dbt import redaction
from mage_dbt.api.app import make_app
from mage_dbt.api.mage_relay import MageRelay
from mage_dbt.errors import SettingError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.migrate import migrate_if_owner
from mage_dbt.profile import Profile
from mage_dbt.runner import waiting
from mage_dbt.runner.service import Runner
from mage_dbt.settings import Settings

log = logging.getLogger("mage_dbt.runner")

RETRY_SECONDS = 1.0
"""Between two tries to reach a PostgreSQL that is away."""


def main() -> None:
    """Runs until SIGTERM or SIGINT; exits 1 with one sentence when it cannot start."""
    zone: ZoneInfo | None = None
    try:
        settings = Settings.load()
        zone = ZoneInfo(settings.daily_build_timezone)
    except WorkspaceError as error:
        _refuse(error)
    finally:
        redaction.log_to_standard_error(logging.INFO, zone)
    for name in ("yoyo", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        _serve(settings, Home(settings.workspace_home))
    except WorkspaceError as error:
        _refuse(error)


def _refuse(error: WorkspaceError) -> NoReturn:
    sys.exit(f"ERROR: {redaction.scrub(str(error))}")


def _serve(settings: Settings, home: Home) -> None:
    if settings.workspace_database_url is None:
        raise SettingError("WORKSPACE_DATABASE_URL is not set for the runner.")
    _hide_secrets(settings, home)
    Profile.of(settings, home)  # a wrong DBT_PROFILES_DIR must fail here, not at each commit
    for folder in (home.runs, home.commits, home.packages):
        folder.mkdir(parents=True, exist_ok=True)
    applied = _when_postgres_answers(settings.workspace_database_url, home.runner_socket)
    log.info("ledger: applied %s", ", ".join(applied) or "nothing, it is up to date")
    ledger = Ledger(settings.workspace_database_url)
    ledger.open()
    runner = Runner(settings, home, ledger)
    runner.start()
    app = make_app(runner, ledger, settings, home, home.api_token.read_text())
    # proxy_headers off: who a caller is must never come from a header anybody can write.
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    doors = [home.runner_socket]
    relay = None
    if settings.login_required:
        doors += [home.people_socket, home.machines_socket]
        relay = MageRelay(settings, home)
        relay.start(_unix_socket(home.people_mage_socket))
    try:
        server.run(sockets=[*map(_unix_socket, doors), _tcp_socket(settings.runner_port)])
    finally:
        if relay:
            relay.stop()
        runner.stop()
        ledger.close()


def _when_postgres_answers(url: str, path: Path) -> list[str]:
    """Brings the ledger's schema up to date, tried again while PostgreSQL is away: to end would
    only make whoever started this process wait longer and longer before it starts it again."""
    with ExitStack() as stack:
        door: waiting.Door | None = None
        while True:
            try:
                return migrate_if_owner(url)
            except psycopg.OperationalError as error:
                reason = redaction.scrub(str(error).strip())
            door = door or stack.enter_context(waiting.door(_unix_socket(path)))
            if reason != door.reason:
                log.warning("waiting for PostgreSQL: %s", reason)
            door.reason = reason
            time.sleep(RETRY_SECONDS)


def _hide_secrets(settings: Settings, home: Home) -> None:
    """What this process knows beside dbt's secrets, which are hidden as they are read."""
    url = settings.workspace_database_url or ""
    redaction.hide(url, *redaction.secrets_in(url))
    files = [*home.secrets.glob("*"), *filter(None, [settings.alert_urls_file])]
    for file in files:
        with suppress(OSError, UnicodeDecodeError):  # another user's
            # Each is a secret whole; of the addresses of alerts, each line is.
            lines = file.read_text().splitlines()
            redaction.hide(*(line for line in lines if not line.startswith("#")))


def _unix_socket(path: Path) -> socket.socket:
    """Only the user the workspace runs as can reach it, or the group of a folder that is shared.

    A folder with the setgid bit is one that somebody has made to be shared with its group, as
    containers do; any other is closed to everybody else.
    """
    shared = path.parent.is_dir() and bool(path.parent.stat().st_mode & stat.S_ISGID)
    if not shared:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o117 if shared else 0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    return listener


def _tcp_socket(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise SettingError(
            f"Port {port} is taken: {error.strerror}.", "Set RUNNER_PORT to a free one."
        ) from None
    return listener


if __name__ == "__main__":
    main()
