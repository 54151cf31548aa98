"""Secrets the workspace makes for itself: one file each, readable by its user alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from mage_dbt.errors import MachineError


def read_or_make(path: Path) -> str:
    """The secret in `path`, made at random (256 bits, URL-safe) when there is none yet."""
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
    """Writes aside and renames over, so that a reader finds the old value or the new one."""
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(value)
    aside.rename(path)
