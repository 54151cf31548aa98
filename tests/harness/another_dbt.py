"""A dbt that lacks something which the installed one has."""

from __future__ import annotations

from pathlib import Path

CODE = """
import sys

if "mage_dbt.dbt.process" in sys.orig_argv:
    if "{path}":
        import importlib

        owner = importlib.import_module("{module}")
        *classes, name = "{path}".split(".")
        for enclosing in classes:
            owner = getattr(owner, enclosing)
        delattr(owner, name)
    else:
        sys.modules["{module}"] = None
"""


def without(lost: str, folder: Path) -> str:
    """PYTHONPATH of processes whose dbt has no `module:Class.function`, or no `module:` at all."""
    module, _, path = lost.partition(":")
    (folder / "sitecustomize.py").write_text(CODE.format(module=module, path=path))
    return str(folder)
