"""The workspace's database as a container reaches it: by one URL, or by a role with a password."""

from __future__ import annotations

from urllib.parse import quote

from mage_dbt.base.database_url import with_schema
from mage_dbt.errors import SettingError
from mage_dbt.home import Home
from mage_dbt.settings import Settings

DATABASE = "workspace"


def url_of(role: str, settings: Settings, home: Home) -> str:
    """The URL of the database for the role `mage` or `runner`, with the password.

    Raises SettingError when neither WORKSPACE_DATABASE_URL nor the role's password is there.
    """
    if settings.workspace_database_url:
        schema = "mage" if role == "mage" else "ledger"
        return with_schema(settings.workspace_database_url, schema)
    hint = f"Mount the password of the role {role} there, or set WORKSPACE_DATABASE_URL."
    password = quote(_password(role, home, hint), safe="")
    where = f"{settings.postgres_host}:{settings.postgres_port}"
    return f"postgresql://{role}:{password}@{where}/{DATABASE}"


def notebooks(settings: Settings, home: Home) -> dict[str, str]:
    """The variables that `mage_project/io_config.yaml` reads: our warehouse, for a reader.

    Empty with profiles of the team's own: NOTEBOOK_SECRETS_DIR names that warehouse.
    """
    if settings.dbt_profiles_dir:
        return {}
    hint = "Mount the password of the warehouse's reader there, for notebooks."
    return {
        "NOTEBOOK_WAREHOUSE_HOST": settings.postgres_host,
        "NOTEBOOK_WAREHOUSE_PORT": str(settings.postgres_port),
        "NOTEBOOK_WAREHOUSE_USER": "analyst",
        "NOTEBOOK_WAREHOUSE_DBNAME": "warehouse",
        "NOTEBOOK_WAREHOUSE_PASSWORD": _password("analyst", home, hint),
    }


def _password(role: str, home: Home, hint: str) -> str:
    file = home.secrets / f"postgres-{role}"
    try:
        return file.read_text().strip()
    except OSError as error:
        raise SettingError(f"{file} cannot be read: {error.strerror}.", hint) from None
