"""`python -m mage_dbt.container.runner`: becomes the runner that `scripts/start` would start."""

from __future__ import annotations

import os
from typing import NoReturn

from mage_dbt import container
from mage_dbt.container.databases import url_of
from mage_dbt.home import Home
from mage_dbt.settings import Settings
from mage_dbt.workspace import programs
from mage_dbt.workspace.postgres import Postgres
from mage_dbt.workspace.programs import Databases


def become() -> NoReturn:
    settings = Settings.load()
    home = Home(settings.workspace_home)
    warehouse = {}
    if not settings.dbt_profiles_dir:
        postgres = Postgres(home, settings.postgres_port, settings.postgres_host)
        warehouse = postgres.warehouse_environment()
    ledger = url_of("runner", settings, home)
    program = programs.runner(settings, home, Databases("", ledger, warehouse))
    os.chdir(program.order.directory)
    os.execve(program.order.command[0], program.order.command, program.environment)


if __name__ == "__main__":
    container.main(become)
