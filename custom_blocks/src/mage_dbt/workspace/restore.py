"""Puts back what `scripts/backup` wrote, in one transaction, and brings it up to this version.

    ./scripts/restore FILE

The workspace must be stopped. What is in the database now, later than the backup, is gone
afterwards; if anything fails, everything is as it was. Runs that were going on at the moment of the
backup get their end from the next runner.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from mage_dbt.errors import MachineError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.settings import Settings
from mage_dbt.workspace.backup import ownership
from mage_dbt.workspace.database import SCHEMAS, Counts, Database, count, opened
from mage_dbt.workspace.postgres import binaries


def restore(database: Database, file: Path) -> Counts:
    """Replaces what is there by the backup; gives the rows of each table as restored.

    Raises MachineError, having changed nothing, when the file is no backup or does not fit.
    """
    with tempfile.TemporaryDirectory(prefix="restore-") as folder:
        script = Path(folder) / "restore.sql"
        done = subprocess.run(
            [str(binaries() / "pg_restore"), *ownership(database), f"--file={script}", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MachineError(f"{file} cannot be read: {done.stderr.strip()}")
        drop = "drop schema if exists " + ", ".join(SCHEMAS) + " cascade"
        database.run(
            "psql",
            *("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"),
            f"--command={drop}",
            f"--file={script}",
        )
    with database.connect() as connection:
        counts = count(connection)
    database.bring_up_to_date()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./scripts/restore",
        description="Replaces the history and Mage's metadata by what a backup holds.",
        epilog="The workspace must be stopped. docs/operations.md: moving, backing up.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    given = parser.parse_args()
    try:
        settings = Settings.load()
        with opened(settings, Home(settings.workspace_home), alone=True) as database:
            counts = restore(database, given.file)
    except (WorkspaceError, psycopg.Error, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    rows, runs = sum(counts.values()), counts.get("ledger.run", 0)
    print(f"{given.file}: {runs} runs, {rows} rows in {len(counts)} tables are back")
    return 0


if __name__ == "__main__":
    sys.exit(main())
