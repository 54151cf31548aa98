"""Where a container finds the workspace's database: one URL, or a role and a password each."""

from __future__ import annotations

from urllib.parse import quote

from mage_dbt.database_url import with_schema
from mage_dbt.errors import SettingError
from mage_dbt.home import Home
from mage_dbt.settings import Settings

DATABASE = "workspace"


def url_of(role: str, settings: Settings, home: Home) -> str:
    """For `mage` and `runner`: their part of the database, with the password.

    Raises SettingError when neither WORKSPACE_DATABASE_URL nor the role's password is there.
    """
    if settings.workspace_database_url:
        schema = "mage" if role == "mage" else "ledger"
        return with_schema(settings.workspace_database_url, schema)
    file = home.secrets / f"postgres-{role}"
    try:
        password = file.read_text().strip()
    except OSError as error:
        raise SettingError(
            f"{file} cannot be read: {error.strerror}.",
            f"Mount the password of the role {role} there, or set WORKSPACE_DATABASE_URL.",
        ) from None
    where = f"{settings.postgres_host}:{settings.postgres_port}"
    return f"postgresql://{role}:{quote(password, safe='')}@{where}/{DATABASE}"
