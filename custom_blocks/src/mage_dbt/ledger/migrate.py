"""Migrates the ledger's schema, up or down, with yoyo and the SQL files in `migrations/`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import yoyo

from mage_dbt.errors import SettingError

MIGRATIONS = Path(__file__).parent / "migrations"


OWNS = """
select coalesce(pg_has_role(nspowner, 'usage'), true) as owns
from (select 1) as one left join pg_namespace on nspname = 'ledger'
"""


def migrate_if_owner(database_url: str) -> list[str]:
    """Applies missing migrations when the URL's role owns the schema, as `migrate` does.

    Another role only checks. Raises SettingError when a migration is missing then.
    """
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        row = connection.execute(OWNS).fetchone()
        if row and row[0]:
            return migrate(database_url)
        applied = connection.execute("select migration_id from ledger._yoyo_migration").fetchall()
    known = {migration.id for migration in yoyo.read_migrations(str(MIGRATIONS))}
    missing = known - {migration_id for (migration_id,) in applied}
    if missing:
        raise SettingError(
            f"The ledger's schema lacks {', '.join(sorted(missing))}, which this role may not add.",
            "A start adds it, as the role that owns the schema: `./scripts/start`, or the "
            "container `prepare`.",
        )
    return []


def migrate(database_url: str) -> list[str]:
    """Applies missing migrations, each in a transaction. Returns their names.

    The role's search path must begin with the schema `ledger`; yoyo keeps its own tables there.
    Two runners starting at once are kept apart by yoyo's lock.
    """
    with _backend(database_url) as backend:
        missing = backend.to_apply(yoyo.read_migrations(str(MIGRATIONS)))
        backend.apply_migrations(missing)
        return [migration.id for migration in missing]


def roll_back(database_url: str, last: str) -> list[str]:
    """Rolls back every migration after `last`, a name or its number. Their data is lost.

    Returns their names, newest first.

    Raises SettingError when there is no such migration, or one has no way back.
    """
    known = yoyo.read_migrations(str(MIGRATIONS))
    found = [
        migration.id
        for migration in known
        if migration.id == last or migration.id.split("_")[0] == last
    ]
    if not found:
        raise SettingError(f"There is no migration {last!r}.", f"The last one is {known[-1].id}.")
    with _backend(database_url) as backend:
        # Newest first: an earlier one knows nothing of the names that a later one has given.
        later = backend.to_rollback(known).filter(lambda migration: migration.id > found[0])
        for migration in later:
            if not (MIGRATIONS / f"{migration.id}.rollback.sql").is_file():
                raise SettingError(
                    f"The migration {migration.id} has no way back.", "Restore a backup."
                )
        backend.rollback_migrations(later)
        return [migration.id for migration in later]


def listed(database_url: str) -> list[tuple[str, bool]]:
    """Every migration of this version, oldest first, and whether it is applied."""
    known = yoyo.read_migrations(str(MIGRATIONS))
    with _backend(database_url) as backend:
        missing = {migration.id for migration in backend.to_apply(known)}
    return [(migration.id, migration.id not in missing) for migration in known]


@contextmanager
def _backend(database_url: str) -> Iterator[Any]:
    """yoyo's backend, while it holds its lock."""
    parts = urlsplit(database_url)
    backend = yoyo.get_backend(urlunsplit(parts._replace(scheme="postgresql+psycopg")))
    try:
        with backend.lock():
            yield backend
    finally:
        backend.connection.close()
