"""Writes the history and Mage's metadata into one file, and proves that it can be restored.

    ./scripts/backup FILE
    ./scripts/backup --into FOLDER --keep 14

The workspace may be running. The dump is restored into an empty database beside the real one, and
the rows of every table are compared with those at the moment of the dump. Only then the file gets
its name. It holds Mage's metadata, tokens included: keep it as you keep secrets.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import psycopg
from psycopg import sql

from mage_dbt.base.files import new_file
from mage_dbt.errors import MachineError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.launcher.database import SCHEMAS, Counts, Database, count, folder_for, opened
from mage_dbt.settings import Settings

NAMED = "workspace-*.dump"


def backup(database: Database, file: Path) -> Counts:
    """Writes `file` (mode 0600) and verifies it; returns the number of rows of each table.

    Raises MachineError when it cannot be written, or does not restore to what was there.
    """
    with new_file(folder_for(file) / file.name, mode=0o600) as aside:
        counts = _dump(database, aside)
        _verify(database, aside, counts)
    return counts


def keep(folder: Path, newest: int) -> None:
    """Removes all but the newest backups that `--into` has written."""
    for old in sorted(folder.glob(NAMED))[:-newest]:
        old.unlink()


def _dump(database: Database, file: Path) -> Counts:
    with database.connect() as connection, connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        row = connection.execute("select pg_export_snapshot()").fetchone()
        assert row
        schemas = [f"--schema={schema}" for schema in SCHEMAS]
        # The dump and the count see the same moment, while runs go on.
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
        differ = [
            table for table in sorted(wanted | found) if wanted.get(table) != found.get(table)
        ]
        raise MachineError(f"The backup does not restore to what was there: {', '.join(differ)}.")


def ownership(database: Database) -> list[str]:
    """Options of pg_restore: a database of yours has one role, ours has several owners."""
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
