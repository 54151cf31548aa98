"""Secrets that people give the workspace: variables, files named by variables, folders of files.

A name such as DBT_ENV_SECRET_PASSWORD may come as a variable; as a file, named by the variable
DBT_ENV_SECRET_PASSWORD_FILE; or as a file of that name in a folder, which is what Compose and
Kubernetes mount. A folder's file wins, then a named file, then the variable. Files are read each
time, so a changed one holds from the next process on. Only the standard library is used here.
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
"""By what the names begin with, the setting that names their folder."""


def read(environ: Mapping[str, str], prefix: str, folder: Path | None) -> dict[str, str]:
    """Every secret whose name begins with `prefix`, by name.

    Raises SettingError naming the file or folder that cannot be read; never what one holds.
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
    """What a secret's file holds, without the newline an editor leaves at its end.

    Raises SettingError, which says `name` and the path, when it cannot be read or holds nothing.
    """
    try:
        value = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"{name}: {path} cannot be read: {reason}.") from None
    if not value:
        raise SettingError(f"{name}: {path} is empty.")
    return value
