"""Mage's process: its command, its environment, and whether it answers.

`scripts/start` and the container start the same Mage, so both use this module. The Python of Mage's
environment imports it too: no dbt, no psycopg.
"""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from mage_dbt.base import secret_values
from mage_dbt.base.secret_files import read_or_make
from mage_dbt.home import Home
from mage_dbt.mage.api import as_the_runner
from mage_dbt.settings import Settings

HOST = "127.0.0.1"
"""Without it `mage start` listens on every interface."""

ANSWER_SECONDS = 5.0


def command(python: Path, settings: Settings, home: Home) -> list[str]:
    """The command that starts Mage; `python` is that of Mage's environment."""
    where = ["--host", HOST, "--port", str(settings.mage_port)]
    # Python runs the script: the script's own first line has no room for a deep path.
    return [str(python), str(python.parent / "mage"), "start", str(home.mage_project), *where]


def environment(settings: Settings, home: Home, database_url: str) -> dict[str, str]:
    """Mage's environment variables beside the settings. None of them can write to the warehouse."""
    return {
        **secret_values.read(
            os.environ, secret_values.FOR_NOTEBOOKS, settings.notebook_secrets_dir
        ),
        "HOME": str(home.mage_data.parent),
        "MAGE_DATABASE_CONNECTION_URL": database_url,
        "MAGE_DATA_DIR": str(home.mage_data),
        "MAGE_PUBLIC_HOST": settings.mage_address,
        "RUNNER_SOCKET": str(home.runner_socket),
        # Mage's own login is no boundary. With this, the gateway says who the user is.
        "REQUIRE_USER_AUTHENTICATION": "1" if settings.login_required else "0",
        "REQUIRE_USER_PERMISSIONS": "0",
        "JWT_SECRET": read_or_make(home.mage_jwt_secret),
        "HIDE_API_TRIGGER_TOKEN": "1",
        "HIDE_ENV_VAR_VALUES": "1",
        "DISABLE_AUTO_BROWSER_OPEN": "1",
        "DISABLE_TERMINAL": "1",
        "ENABLE_OPEN_AI": "0",
        "ENABLE_HUGGING_FACE": "0",
        "ENABLE_NEW_RELIC": "",
        # Mage's poll interval in seconds: a click takes effect within 1 to 2 s.
        "SCHEDULER_TRIGGER_INTERVAL": "1",
    }


def problem(settings: Settings, home: Home) -> str:
    """What is wrong with Mage's answer; empty when Mage answers 200."""
    try:
        answer = _ask(settings, home, ANSWER_SECONDS)
    except httpx.HTTPError as error:
        return f"{_url(settings)}: {error}"
    if answer.status_code != 200:
        return f"{_url(settings)} answers {answer.status_code}"
    # While Mage makes its database, it answers 200 with an error inside.
    return f"{_url(settings)} answers with an error" if '"error"' in answer.text[:20] else ""


def answers(settings: Settings, home: Home, seconds: float) -> bool:
    """Whether Mage answers anything at all within so many seconds."""
    try:
        _ask(settings, home, seconds)
    except httpx.HTTPError:
        return False
    return True


def _ask(settings: Settings, home: Home, seconds: float) -> httpx.Response:
    return httpx.get(
        _url(settings),
        headers=as_the_runner(home),  # with a login on Mage answers nobody else
        timeout=seconds,
        verify=False,  # no TLS: reading the system's certificates takes 18 ms
        trust_env=False,
    )


def _url(settings: Settings) -> str:
    return f"http://{HOST}:{settings.mage_port}/api/statuses"
