"""`python -m mage_dbt.container.prepare [--demo]`: prepares PostgreSQL for this version, and ends.

Only it holds the passwords of the superuser and of the ledger's owner. A second time it changes
nothing. `--demo` loads the demo's raw data and creates the demo dbt-metric's repository.
"""

from __future__ import annotations

import argparse

import psycopg

from mage_dbt import container
from mage_dbt.base.database_url import with_schema
from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.launcher import demo
from mage_dbt.launcher.database_roles import prepare_given
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.ledger.migrate import migrate
from mage_dbt.settings import Settings


def prepare() -> None:
    parser = argparse.ArgumentParser(prog="python -m mage_dbt.container.prepare")
    parser.add_argument("--demo", action="store_true", help="the demo's data and repository too")
    arguments = parser.parse_args()
    settings = Settings.load()
    home = Home(settings.workspace_home)
    postgres = Postgres(home, settings.postgres_port, settings.postgres_host)
    try:
        if url := settings.workspace_database_url:
            prepare_given(url)
            migrate(with_schema(url, "ledger"))
        else:
            postgres.prepare_workspace()
        if not settings.dbt_profiles_dir:
            postgres.prepare_warehouse()
            if arguments.demo and postgres.load_demo(demo.RAW_DATA):
                print("The demo's raw data is in the warehouse", flush=True)
    except psycopg.Error as error:
        raise MachineError(f"PostgreSQL: {str(error).strip()}") from None
    kept = Home(home.root / "demo")  # a volume of its own
    if arguments.demo and demo.make_repository(kept):
        print(f"The demo dbt-metric is a git repository: {kept.demo_repository}", flush=True)
    print("The databases are as this version needs them", flush=True)


if __name__ == "__main__":
    container.main(prepare)
