"""A node's compiled SQL, read from its run's folder."""

from __future__ import annotations

from pathlib import Path

from mage_dbt.ledger.run_node import RunNode
from mage_dbt.redaction import scrub

LONGEST_SQL = 200_000
"""Characters that are shown; more is not read by people."""

MORE = 10_000
"""Read beyond that, so that no secret is cut in two and shown by half."""


def compiled_sql(folder: Path, node: RunNode) -> tuple[str | None, str]:
    """The SQL without secrets, or None; and a note why there is none, or that it was cut."""
    if node.type in ("seed", "operation"):
        return None, f"A {node.type} has no compiled SQL of its own."
    if not node.compiled or node.status == "skipped":
        return None, "dbt did not begin with this node, so it was not compiled."
    if not folder.is_dir():
        return None, "The run's folder is gone: only the last runs keep theirs."
    file = (folder / node.compiled).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None, "dbt wrote no compiled SQL for this node."
    with file.open("rb") as opened:
        text = opened.read(LONGEST_SQL + MORE).decode(errors="replace")
    shown = scrub(text)
    if len(shown) <= LONGEST_SQL:
        return shown, ""
    return shown[:LONGEST_SQL], f"Cut: the file has {file.stat().st_size} bytes."
