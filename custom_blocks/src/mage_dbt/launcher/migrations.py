"""Shows the ledger's migrations, applies those that are missing, or takes the last ones back.

    ./scripts/migrate                what is applied and what is missing; changes nothing
    ./scripts/migrate --up           applies what is missing, as every start does
    ./scripts/migrate --to 0005      takes back everything after 0005, for an older version

To take a migration back loses what it added: make a backup first. The workspace must be stopped.
"""

from __future__ import annotations

import argparse
import sys

import psycopg

from mage_dbt.errors import WorkspaceError
from mage_dbt.home import Home
from mage_dbt.launcher.database import opened
from mage_dbt.ledger.migrate import listed, roll_back
from mage_dbt.settings import Settings


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./scripts/migrate",
        description="Shows the ledger's migrations, applies them, or takes the last ones back.",
        epilog="docs/operations.md: another version, and back.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--up", action="store_true", help="apply what is missing")
    what.add_argument("--to", metavar="0005", help="take back everything after this one")
    given = parser.parse_args()
    try:
        settings = Settings.load()
        changes = given.up or given.to
        with opened(settings, Home(settings.workspace_home), alone=bool(changes)) as database:
            if given.up:
                database.bring_up_to_date()
            elif given.to:
                for name in roll_back(database.owner_url, given.to):
                    print(f"taken back  {name}")
            for name, applied in listed(database.owner_url):
                print(f"{'applied' if applied else 'missing':<12}{name}")
    except (WorkspaceError, psycopg.Error, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
