"""YAML files of a commit, read with errors that name the file; dbt's own often do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mage_dbt.errors import CommitBroken

REPAIR = "Push a commit that repairs it; until then the last good commit stays live."


def read(file: Path) -> dict[str, Any]:
    """The file's mapping; empty when there is no file. Raises CommitBroken when it is no YAML."""
    if not file.is_file():
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no UTF-8; no date
        raise CommitBroken(f"{file.name} cannot be read: {error}", REPAIR) from None
    if not isinstance(content, dict):
        raise CommitBroken(f"{file.name} is not names with values.", REPAIR)
    return content
