"""Checks before a start that the ports it needs are free."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

from mage_dbt.errors import MachineError, SettingError
from mage_dbt.settings import Settings

RELEASE_SECONDS = 2.0
"""How long a port may stay taken: the system closes a killed process's sockets after it is gone."""


def needs_postgres(settings: Settings) -> bool:
    """Whether the embedded PostgreSQL holds anything: metadata and ledger, or the warehouse."""
    return not (settings.workspace_database_url and settings.dbt_profiles_dir)


def require_free(settings: Settings, more: Mapping[str, int] | None = None) -> None:
    """Raises MachineError with the first port that is taken, and the setting that changes it.

    `more` are further ports by their settings. Raises SettingError when the settings ask for a
    PostgreSQL that cannot be started here.
    """
    if settings.postgres_host != "127.0.0.1":
        raise SettingError(
            f"POSTGRES_HOST={settings.postgres_host} is for containers.",
            "To use a PostgreSQL of your own, set WORKSPACE_DATABASE_URL and DBT_PROFILES_DIR.",
        )
    wanted = {"MAGE_PORT": settings.mage_port, "RUNNER_PORT": settings.runner_port}
    if needs_postgres(settings):
        wanted["POSTGRES_PORT"] = settings.postgres_port
    wanted |= more or {}
    names: dict[int, str] = {}
    for setting, port in wanted.items():
        if port in names:
            raise MachineError(f"{setting} and {names[port]} are both {port}; each needs its own.")
        names[port] = setting
        with socket.socket(socket.AF_INET) as probe:
            # As the servers do: else a port that was just given up counts as taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reason := _taken(probe, port):
                raise MachineError(
                    f"Port {port} on 127.0.0.1 cannot be had: {reason}.",
                    f"Stop what uses it, or set {setting} to a free one.",
                )


def _taken(probe: socket.socket, port: int) -> str:
    """Why the port is not free, or empty."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while True:
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError as error:
            if time.monotonic() > deadline:
                return str(error.strerror)
            time.sleep(0.1)
        else:
            return ""
