"""Secrets that the workspace makes for itself: a file for each, readable by its user alone."""

from __future__ import annotations

import secrets
from pathlib import Path

from mage_dbt.base.files import replace_file
from mage_dbt.errors import MachineError


def read_or_make(path: Path) -> str:
    """The secret in `path`; a new random one (256 bits, URL-safe) when there is no file.

    Raises MachineError when the file is empty.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        replace_secret(path, new_secret())
    secret = path.read_text().strip()
    if not secret:
        raise MachineError(f"{path} is empty.", "Remove it, and the next start makes a new one.")
    return secret


def new_secret() -> str:
    """256 random bits, URL-safe."""
    return secrets.token_urlsafe(32)


def replace_secret(path: Path, value: str) -> None:
    """Writes the file, mode 0600; a reader finds the old value or the new one."""
    replace_file(path, value, mode=0o600)
