"""Secrets that people give to the workspace.

A secret such as DBT_ENV_SECRET_PASSWORD comes in one of three ways. The first that is there counts:

1. a file of that name in a folder, as Compose and Kubernetes mount it,
2. a file that the variable DBT_ENV_SECRET_PASSWORD_FILE names,
3. the variable itself.

Files are read each time, so a change takes effect with the next process. Only the standard library
is used here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mage_dbt.errors import SettingError

FOR_DBT = "DBT_ENV_SECRET_"
FOR_NOTEBOOKS = "NOTEBOOK_"
NAMES_A_FILE = "_FILE"

FOLDERS = {FOR_DBT: "DBT_SECRETS_DIR", FOR_NOTEBOOKS: "NOTEBOOK_SECRETS_DIR"}
"""The setting that names the folder of secrets, by the prefix of the secrets' names."""


def read(environ: Mapping[str, str], prefix: str, folder: Path | None) -> dict[str, str]:
    """All secrets whose names begin with `prefix`, by name. `folder` holds a file for each.

    Raises SettingError when a file or folder cannot be read. The message never holds a secret.
    """
    given = {
        name: value
        for name, value in environ.items()
        if name.startswith(prefix) and not name.endswith(NAMES_A_FILE)
    }
    for name, path in environ.items():
        if name.startswith(prefix) and name.endswith(NAMES_A_FILE) and path:
            given[name.removesuffix(NAMES_A_FILE)] = read_file(Path(path), name)
    if folder is not None:
        try:
            files = sorted(folder.iterdir())
        except OSError as error:
            raise SettingError(
                f"{FOLDERS[prefix]}={folder}, the folder of secrets: {error.strerror}."
            ) from None
        for file in files:
            if file.name.startswith(prefix) and re.fullmatch(r"\w+", file.name):
                given[file.name] = read_file(file, file.name)
    return given


def read_file(path: Path, name: str) -> str:
    """The secret in a file, without the newline that editors add.

    Raises SettingError with `name` and the path when the file cannot be read or is empty.
    """
    try:
        value = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"{name}: {path} cannot be read: {reason}.") from None
    if not value:
        raise SettingError(f"{name}: {path} is empty.")
    return value
