"""Brings the ledger's schema up to date, with yoyo and the SQL files in `migrations/`."""

from __future__ import annotations

from pathlib import Path
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
    parts = urlsplit(database_url)
    backend = yoyo.get_backend(urlunsplit(parts._replace(scheme="postgresql+psycopg")))
    try:
        with backend.lock():
            missing = backend.to_apply(yoyo.read_migrations(str(MIGRATIONS)))
            backend.apply_migrations(missing)
            return [one.id for one in missing]
    finally:
        backend.connection.close()
