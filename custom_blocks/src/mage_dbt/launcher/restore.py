"""Restores what `scripts/backup` wrote, in one transaction, and migrates it to this version.

    ./scripts/restore FILE

The workspace must be stopped. Afterwards all that is later than the backup is gone; when anything
fails, everything stays as it is. The next runner ends the runs that were running at the moment of
the backup.
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
from mage_dbt.launcher.backup import ownership
from mage_dbt.launcher.database import SCHEMAS, Counts, Database, count, opened
from mage_dbt.launcher.postgres import binaries
from mage_dbt.settings import Settings


def restore(database: Database, file: Path) -> Counts:
    """Replaces the database's content by the backup; returns the rows of each table, as restored.

    Raises MachineError when the file is no backup or does not fit; then nothing has changed.
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
