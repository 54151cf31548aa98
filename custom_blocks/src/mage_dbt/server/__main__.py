"""`python -m mage_dbt.server`: serves the runner on its Unix socket and on RUNNER_PORT."""

from __future__ import annotations

import logging
import os
import socket
import stat
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

import psycopg
import uvicorn

from mage_dbt.base import redaction
from mage_dbt.commits.profile import Profile
from mage_dbt.errors import SettingError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.event_feed import EventFeed
from mage_dbt.ledger.migrate import migrate_if_owner
from mage_dbt.runner.service import Runner
from mage_dbt.server import waiting
from mage_dbt.server.app import make_app
from mage_dbt.server.pages import assets, rendering
from mage_dbt.server.relay import MageRelay
from mage_dbt.settings import Settings

log = logging.getLogger("mage_dbt.server")

STARTED_SECONDS = 0.1
"""Between two looks whether the server answers."""

RETRY_SECONDS = 1.0
"""Between two attempts to reach a PostgreSQL that is away."""


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
    feed = EventFeed(settings.workspace_database_url)
    feed.start()
    app = make_app(runner, ledger, feed, settings, home, home.api_token.read_text())
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
    sockets = [home.runner_socket]
    relay = None
    if settings.login_required:
        sockets += [home.people_socket, home.machines_socket]
        relay = MageRelay(settings, home)
        relay.start(_unix_socket(home.people_mage_socket))
    threading.Thread(
        target=_prepare_pages, args=(server,), name="prepare pages", daemon=True
    ).start()
    try:
        server.run(sockets=[*map(_unix_socket, sockets), _tcp_socket(settings.runner_port)])
    finally:
        if relay:
            relay.stop()
        runner.stop()
        feed.stop()
        ledger.close()


def _prepare_pages(server: uvicorn.Server) -> None:
    """Makes what the first look at a page would wait for. The start does not wait for it."""
    while not server.started and not server.should_exit:
        time.sleep(STARTED_SECONDS)
    assets.prepare()
    rendering.prepare()


def _when_postgres_answers(url: str, path: Path) -> list[str]:
    """Brings the ledger's schema up to date. It retries while PostgreSQL is away.

    A process that ended instead would be restarted at growing intervals.
    """
    with ExitStack() as stack:
        state: waiting.Waiting | None = None
        while True:
            try:
                return migrate_if_owner(url)
            except psycopg.OperationalError as error:
                reason = redaction.scrub(str(error).strip())
            state = state or stack.enter_context(waiting.answering(_unix_socket(path)))
            if reason != state.reason:
                log.warning("waiting for PostgreSQL: %s", reason)
            state.reason = reason
            time.sleep(RETRY_SECONDS)


def _hide_secrets(settings: Settings, home: Home) -> None:
    """Redacts the secrets of this process; dbt's are redacted as they are read."""
    url = settings.workspace_database_url or ""
    redaction.hide(url, *redaction.secrets_in(url))
    redaction.hide_files_in(home.secrets)
    if settings.alert_urls_file:
        redaction.hide_file(settings.alert_urls_file)


def _unix_socket(path: Path) -> socket.socket:
    """A bound socket that only the workspace's user can reach, or the group of a shared folder.

    A folder with the setgid bit is meant to be shared with its group, as containers do; any other
    folder is closed to everybody else.
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
    # asyncio sends without delay where the protocol is named; else an answer waits 40 ms for the
    # other side's acknowledgement of its head.
    listener = socket.socket(socket.AF_INET, proto=socket.IPPROTO_TCP)
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
