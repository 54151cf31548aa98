"""A dbt that our shortcuts were not compared with does its own way, function by function."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mage_dbt.settings import CHECKOUT
from mage_dbt.worker import SHORTCUTS

PROFILE = """
PROFILE:
  target: dev
  outputs:
    dev: {type: postgres, host: 127.0.0.1, port: 1, user: u, password: p, dbname: d, schema: s}
"""

CODE = """
import json, sys
from dbt.compilation import Compiler
from dbt.context import base
from dbt.graph.selector import NodeSelector
from mage_dbt.worker import project

if sys.argv[1] == "other":
    compiled, clock = Compiler.compile, base.get_datetime_module_context
    Compiler.compile = lambda *given, **named: compiled(*given, **named)
    base.get_datetime_module_context = lambda: clock()
criteria = NodeSelector.get_nodes_from_criteria
parsed = project.Project.parse(sys.argv[2:], watch_clock=True)
parsed.warm(sys.argv[2:])
listed = parsed.invoke(["ls", *sys.argv[2:], "--select", "facts+"])
ours = NodeSelector.get_nodes_from_criteria is not criteria
print("answer", json.dumps([listed.result, ours, parsed.differences]))
"""


def selected(folder: Path, dbt: str = "known", shortcuts: bool = True) -> list[object]:
    """What `facts+` selects, whether dbt's selection is patched, and what is said of this dbt."""
    if not folder.exists():
        shutil.copytree(CHECKOUT / "tests" / "projects" / "steps", folder)
        name = (folder / "dbt_project.yml").read_text().split("profile:")[1].split()[0]
        (folder / "profiles.yml").write_text(PROFILE.replace("PROFILE", name))
    words = ["--quiet", "--project-dir", str(folder), "--profiles-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, dbt, *words],
        env={**os.environ, SHORTCUTS: str(shortcuts).lower()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return list(json.loads(done.stdout.split("answer ")[1]))


def test_one_function_that_differs_is_called_and_told_and_the_others_are_replaced(
    tmp_path: Path,
) -> None:
    known, other = selected(tmp_path / "steps"), selected(tmp_path / "steps", "other")
    assert known[0] == other[0] != []
    assert known[1:] == [True, []]
    assert other[1:] == [
        True,
        [
            "1 function of this dbt is not the one that our shortcut was compared with, so runs "
            "take longer: Compiler.compile.",
            "Whether configuration reads the clock is not known with this dbt, whose functions are "
            "other ones: get_datetime_module_context.",
        ],
    ]


def test_shortcuts_can_be_switched_off(tmp_path: Path) -> None:
    known, without = selected(tmp_path / "steps"), selected(tmp_path / "steps", shortcuts=False)
    assert known[0] == without[0] != []
    assert without[1:] == [False, []]
