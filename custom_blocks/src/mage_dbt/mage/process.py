"""How Mage is started: its arguments, and what it finds in its environment.

`scripts/start` and the container start the same Mage, so both ask here. Imported by the Python of
Mage's environment too: no dbt, no psycopg.
"""

from __future__ import annotations

import os
from pathlib import Path

from mage_dbt import secret_values
from mage_dbt.home import Home
from mage_dbt.settings import Settings
from mage_dbt.workspace.secret_files import read_or_make

HOST = "127.0.0.1"
"""`mage start` binds every interface unless told otherwise."""


def command(python: Path, settings: Settings, home: Home) -> list[str]:
    """`python` is that of Mage's environment."""
    where = ["--host", HOST, "--port", str(settings.mage_port)]
    # By its Python rather than as a script: a script's first line has no room for a deep path.
    return [str(python), str(python.parent / "mage"), "start", str(home.mage_project), *where]


def environment(settings: Settings, home: Home, database_url: str) -> dict[str, str]:
    """What Mage finds beside the settings; nothing here lets it write to the warehouse."""
    return {
        **secret_values.read(
            os.environ, secret_values.FOR_NOTEBOOKS, settings.notebook_secrets_dir
        ),
        "HOME": str(home.mage_data.parent),
        "MAGE_DATABASE_CONNECTION_URL": database_url,
        "MAGE_DATA_DIR": str(home.mage_data),
        "MAGE_PUBLIC_HOST": settings.mage_address,
        "RUNNER_SOCKET": str(home.runner_socket),
        # Mage's own login is no boundary: with this, a user is who the door says (mage/door).
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
        # Seconds between two looks at what is due: a click is on its way within 1 to 2 s.
        "SCHEDULER_TRIGGER_INTERVAL": "1",
    }
