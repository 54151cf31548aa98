"""One of the small projects, parsed by dbt in a process of its own, without a warehouse."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.harness.repository import PROJECTS

OUTPUT = {
    **{"type": "postgres", "host": "127.0.0.1", "port": 1},
    **{"user": "u", "password": "p", "dbname": "d", "schema": "s"},
}


def answer(code: str, project: str, folder: Path, *words: str) -> Any:
    """What `code` has given to `answer`: it finds dbt's arguments for the project in `arguments`,
    and `words` in `words`."""
    if not folder.exists():
        shutil.copytree(PROJECTS / project, folder)
    if not (folder / "profiles.yml").exists():
        name = yaml.safe_load((folder / "dbt_project.yml").read_text())["profile"]
        profiles = {name: {"target": "dev", "outputs": {"dev": OUTPUT}}}
        (folder / "profiles.yml").write_text(yaml.safe_dump(profiles))
    given = ["--quiet", "--project-dir", str(folder), "--profiles-dir", str(folder)]
    before = f"arguments, words = {given!r}, {list(words)!r}\n"
    before += "import json\ndef answer(*what): print('answer', json.dumps(what))\n"
    done = subprocess.run(
        [sys.executable, "-c", before + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("answer ")[1])
