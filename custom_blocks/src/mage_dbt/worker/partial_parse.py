"""dbt's partial parse, from which another parse of the same files goes on, and what dbt warned of.

Of what dbt takes from there it does not warn again, so the two files go together.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mage_dbt.parse_warnings import ParseWarnings

PARTIAL_PARSE = "partial_parse.msgpack"

WARNINGS = "parse_warnings.json"


def bring(parsed: Path, target: Path) -> None:
    """Copies both files to where dbt looks for the first, when they are there."""
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
