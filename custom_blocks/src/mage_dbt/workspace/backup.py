"""Writes the history and Mage's metadata into one file, and proves that it can be restored.

    ./scripts/backup FILE
    ./scripts/backup --into FOLDER --keep 14

The workspace may be running. The file is restored into an empty database beside the real one and
every table's rows are counted, against the very moment the backup is of; only then it gets its
name. It holds what Mage's metadata holds, tokens too: keep it as you keep secrets.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import psycopg
from psycopg import sql

from mage_dbt.errors import MachineError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.settings import Settings
from mage_dbt.workspace.database import SCHEMAS, Counts, Database, count, folder_for, opened

NAMED = "workspace-*.dump"


def backup(database: Database, file: Path) -> Counts:
    """Writes `file` (mode 0600), verified; gives the rows of each table.

    Raises MachineError when it cannot be written, or does not restore to what was there.
    """
    aside = folder_for(file) / f".{file.name}.{token_hex(4)}"
    try:
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        counts = _dump(database, aside)
        _verify(database, aside, counts)
        aside.rename(file)
    finally:
        aside.unlink(missing_ok=True)
    return counts


def keep(folder: Path, newest: int) -> None:
    """Removes all but the newest backups that `--into` has made."""
    for old in sorted(folder.glob(NAMED))[:-newest]:
        old.unlink()


def _dump(database: Database, file: Path) -> Counts:
    with database.connect() as connection, connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        row = connection.execute("select pg_export_snapshot()").fetchone()
        assert row
        schemas = [f"--schema={one}" for one in SCHEMAS]
        # The same moment for both, while runs go on.
        database.run(
            "pg_dump", "--format=custom", f"--snapshot={row[0]}", f"--file={file}", *schemas
        )
        return count(connection)


def _verify(database: Database, file: Path, wanted: Counts) -> None:
    name = f"verify_{token_hex(6)}"
    with database.connect() as connection:
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            raise MachineError(
                "The backup cannot be verified: this role may not create a database.",
                "Grant it: alter role … createdb.",
            ) from None
        try:
            database.run(
                "pg_restore", "--exit-on-error", *ownership(database), str(file), database=name
            )
            with database.connect(name) as restored:
                found = count(restored)
        finally:
            connection.execute(sql.SQL("drop database {}").format(sql.Identifier(name)))
    if found != wanted:
        differ = [one for one in sorted(wanted | found) if wanted.get(one) != found.get(one)]
        raise MachineError(f"The backup does not restore to what was there: {', '.join(differ)}.")


def ownership(database: Database) -> list[str]:
    """In a database of yours everything is the one role's; in ours each role has its own."""
    return [] if database.postgres is not None else ["--no-owner", "--no-privileges"]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./scripts/backup",
        description="Writes the history and Mage's metadata into one file, and verifies it.",
        epilog="docs/operations.md: moving, backing up, starting afresh.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("file", nargs="?", type=Path, metavar="FILE")
    where.add_argument("--into", type=Path, metavar="FOLDER", help="a new file in this folder")
    parser.add_argument(
        "--keep", type=int, default=0, metavar="N", help="with --into: the newest N"
    )
    given = parser.parse_args()
    now = datetime.now(UTC)
    file = given.file or given.into / NAMED.replace("*", f"{now:%Y%m%dT%H%M%SZ}")
    try:
        settings = Settings.load()
        with opened(settings, Home(settings.workspace_home)) as database:
            counts = backup(database, file)
        if given.into and given.keep > 0:
            keep(given.into, given.keep)
    except (WorkspaceError, psycopg.Error, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    rows, runs = sum(counts.values()), counts.get("ledger.run", 0)
    print(f"{file}: {runs} runs, {rows} rows in {len(counts)} tables, restored and counted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
