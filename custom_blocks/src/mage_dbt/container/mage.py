"""`python -m mage_dbt.container.mage`: writes our files into the Mage project, then becomes Mage.

It runs in Mage's own environment, without dbt and psycopg.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from mage_dbt import container
from mage_dbt.base.database_url import for_mage
from mage_dbt.container.databases import notebooks, url_of
from mage_dbt.home import Home
from mage_dbt.mage import process, project
from mage_dbt.settings import Settings


def become() -> NoReturn:
    settings = Settings.load()
    home = Home(settings.workspace_home)
    home.mage_data.mkdir(parents=True, exist_ok=True)
    project.install(settings, home)
    environment = os.environ | settings.as_environment() | notebooks(settings, home)
    # Mage gets its own URL below; this one may open the ledger too.
    for name in ("WORKSPACE_DATABASE_URL", "WORKSPACE_DATABASE_URL_FILE"):
        environment.pop(name, None)
    environment |= process.environment(settings, home, for_mage(url_of("mage", settings, home)))
    command = process.command(Path(sys.executable), settings, home)
    os.chdir(home.mage_data.parent)
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    container.main(become)
