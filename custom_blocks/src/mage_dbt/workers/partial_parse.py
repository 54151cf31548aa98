"""A commit's partial parse, from which dbt parses the same files faster, and its warnings.

dbt does not repeat the warnings of what it takes from a partial parse. So both files go together.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mage_dbt.model.parse_warnings import ParseWarnings

PARTIAL_PARSE = "partial_parse.msgpack"

WARNINGS = "parse_warnings.json"


def bring(parsed: Path, target: Path) -> None:
    """Copies both files to dbt's target folder, if both exist."""
    if (parsed / PARTIAL_PARSE).exists() and (parsed / WARNINGS).exists():
        shutil.copy(parsed / PARTIAL_PARSE, target)
        shutil.copy(parsed / WARNINGS, target)


def write_warnings(target: Path, found: ParseWarnings) -> None:
    """Writes them beside the partial parse of the same `dbt parse`."""
    (target / WARNINGS).write_text(json.dumps(found.to_json()))


def read_warnings(target: Path) -> ParseWarnings | None:
    """None where they are not known."""
    try:
        return ParseWarnings.from_json(json.loads((target / WARNINGS).read_text()))
    except (OSError, ValueError):
        return None
