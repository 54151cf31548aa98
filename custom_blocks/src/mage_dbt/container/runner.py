"""`python -m mage_dbt.container.runner`: becomes the runner that `scripts/start` would start."""

from __future__ import annotations

import os
from typing import NoReturn

from mage_dbt import container
from mage_dbt.container.databases import url_of
from mage_dbt.home import Home
from mage_dbt.launcher import programs
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.launcher.programs import Databases
from mage_dbt.settings import Settings


def become() -> NoReturn:
    settings = Settings.load()
    home = Home(settings.workspace_home)
    warehouse = {}
    if not settings.dbt_profiles_dir:
        postgres = Postgres(home, settings.postgres_port, settings.postgres_host)
        warehouse = postgres.warehouse_environment()
    ledger = url_of("runner", settings, home)
    program = programs.runner(settings, home, Databases("", ledger, warehouse))
    os.chdir(program.launch.directory)
    os.execve(program.launch.command[0], program.launch.command, program.environment)


if __name__ == "__main__":
    container.main(become)
