"""A dbt without something on which our processes rely, such as a private function that we guard.

Nothing is read or run then: what guards the tree of a commit, or hides a secret, would be missing.
Nothing of dbt is imported here.
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from typing import Any

from mage_dbt.commits.broken import UNFIT

HINT = (
    "Set a version that fits in dbt/requirements.txt and start again; docs/dbt-patches.md has "
    "those that were compared."
)

PACKAGES = ("dbt", "dbt_common")
"""Of dbt and its adapters."""

FILE = re.compile(r" \((?:/[^()]*|unknown location)\)")
"""Where a module lies, at the end of Python's message."""


def lack(error: ImportError | AttributeError) -> str:
    """What this dbt lacks, in words; empty where the error is about something else."""
    if isinstance(error, ImportError):
        return FILE.sub("", str(error)) if _is_of_dbt(error.name) else ""
    owner = error.obj
    module = getattr(owner, "__module__", None) or getattr(owner, "__name__", None)
    if not _is_of_dbt(module):
        return ""
    names = (module, getattr(owner, "__qualname__", ""), error.name)
    return f"It has no {'.'.join(filter(None, names))}"


def sentence(lacks: str) -> str:
    """What is wrong, with dbt's version; `lacks` is from `lack`."""
    return f"dbt {_version()} does not fit the workspace. {lacks}."


def answer(kind: str, lacks: str) -> str:
    """The line with which a process of this kind (`process.py`) answers the runner; empty where
    nobody reads it."""
    why = {"message": sentence(lacks), "hint": HINT, "secrets": []}
    answers: dict[str, dict[str, Any]] = {
        "run": {"refused": UNFIT, **why},
        "fork-server": {"failed": UNFIT, **why},
        "ended": {"looked": True, "left": 0, "error": f"{why['message']} {HINT}"},
    }
    return f"{json.dumps(answers[kind])}\n" if kind in answers else ""


def _is_of_dbt(module: str | None) -> bool:
    return (module or "").split(".")[0] in PACKAGES


def _version() -> str:
    try:
        return metadata.version("dbt-core")
    except metadata.PackageNotFoundError:
        return "(whose version is not known)"
