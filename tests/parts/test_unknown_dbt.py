"""A dbt that our shortcuts were not compared with does everything its own way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from mage_dbt.settings import CHECKOUT

PROFILE = """
PROFILE:
  target: dev
  outputs:
    dev: {type: postgres, host: 127.0.0.1, port: 1, user: u, password: p, dbname: d, schema: s}
"""

CODE = """
import json, sys
from dbt.compilation import Linker
from dbt.graph.selector import NodeSelector
from mage_dbt.worker import project

theirs = NodeSelector.get_nodes_from_criteria
if sys.argv[1] == "unknown":
    project.KNOWN = ("0.1.",)
parsed = project.Project.parse(sys.argv[2:])
parsed.warm(sys.argv[2:])
listed = parsed.invoke(["ls", *sys.argv[2:], "--select", "facts+"])
untouched = NodeSelector.get_nodes_from_criteria is theirs
imported = "mage_dbt.worker.shortcuts" in sys.modules
print("answer", json.dumps([listed.result, untouched, imported]))
"""


def test_a_dbt_of_another_version_goes_its_own_way_to_the_same_selection(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    shutil.copytree(CHECKOUT / "tests" / "projects" / "steps", folder)
    name = (folder / "dbt_project.yml").read_text().split("profile:")[1].split()[0]
    (folder / "profiles.yml").write_text(PROFILE.replace("PROFILE", name))
    words = ["--quiet", "--project-dir", str(folder), "--profiles-dir", str(folder)]

    def selected(version: str) -> list[object]:
        done = subprocess.run(
            [sys.executable, "-c", CODE, version, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return list(json.loads(done.stdout.split("answer ")[1]))

    known, unknown = selected("known"), selected("unknown")
    assert known[0] == unknown[0] != []
    assert known[1:] == [False, True] and unknown[1:] == [True, False]
