"""Brings the ledger's schema up to date, or back, with yoyo and the SQL files in `migrations/`."""

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
    """Applies what is missing when the URL's role owns the schema, as `migrate` does.

    A role that does not own it only looks; then raises SettingError when something is missing.
    """
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        row = connection.execute(OWNS).fetchone()
        if row and row[0]:
            return migrate(database_url)
        applied = connection.execute("select migration_id from ledger._yoyo_migration").fetchall()
    known = {one.id for one in yoyo.read_migrations(str(MIGRATIONS))}
    missing = known - {one[0] for one in applied}
    if missing:
        raise SettingError(
            f"The ledger's schema lacks {', '.join(sorted(missing))}, which this role may not add.",
            "`./scripts/start` adds it, as the role that owns the schema.",
        )
    return []


def migrate(database_url: str) -> list[str]:
    """Applies what is missing, one transaction a file; gives the names of what it applied.

    The role's search path must begin with the schema `ledger`; yoyo keeps its own tables there.
    Two runners starting at once are kept apart by yoyo's lock.
    """
    with _backend(database_url) as backend:
        missing = backend.to_apply(yoyo.read_migrations(str(MIGRATIONS)))
        backend.apply_migrations(missing)
        return [one.id for one in missing]


def roll_back(database_url: str, last: str) -> list[str]:
    """Takes back every migration after `last`, a name or its number; gives their names, newest
    first. What they had added is lost.

    Raises SettingError when there is no such migration, or one has no way back.
    """
    known = yoyo.read_migrations(str(MIGRATIONS))
    found = [one.id for one in known if one.id == last or one.id.split("_")[0] == last]
    if not found:
        raise SettingError(f"There is no migration {last!r}.", f"The last one is {known[-1].id}.")
    with _backend(database_url) as backend:
        later = [one for one in backend.to_rollback(known) if one.id > found[0]]
        for one in later:
            if not (MIGRATIONS / f"{one.id}.rollback.sql").is_file():
                raise SettingError(f"The migration {one.id} has no way back.", "Restore a backup.")
        backend.rollback_migrations(known.filter(lambda one: one.id in {two.id for two in later}))
        return [one.id for one in later]


def listed(database_url: str) -> list[tuple[str, bool]]:
    """Every migration this version knows, oldest first, and whether it is applied."""
    known = yoyo.read_migrations(str(MIGRATIONS))
    with _backend(database_url) as backend:
        missing = {one.id for one in backend.to_apply(known)}
    return [(one.id, one.id not in missing) for one in known]


@contextmanager
def _backend(database_url: str) -> Iterator[Any]:
    """yoyo's, while it holds its lock."""
    parts = urlsplit(database_url)
    backend = yoyo.get_backend(urlunsplit(parts._replace(scheme="postgresql+psycopg")))
    try:
        with backend.lock():
            yield backend
    finally:
        backend.connection.close()
