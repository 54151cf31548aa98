"""The names of a run's sessions in pg_stat_activity, and whether any are left."""

from __future__ import annotations

import re
import unicodedata

LONGEST_NAME = 63
"""Bytes; PostgreSQL cuts off the rest of an application_name."""

left_behind = False
"""Whether sessions of the run, which this process cancelled, are still there, or may be."""


def plain(text: str) -> str:
    """The text as ASCII that ends no comment, no quotes and no line."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9@._+,:() -]+", "_", ascii_text).strip() or "unknown"


def application_name(run: str, caller: str) -> str:
    """`mage-dbt <run> <caller>`, at most LONGEST_NAME bytes."""
    return f"{run_name(run)} {plain(caller)}"[:LONGEST_NAME].strip()


def run_name(run: str) -> str:
    """The beginning of the name of every session of the run."""
    return f"mage-dbt {run}"
