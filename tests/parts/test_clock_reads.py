"""What of a project's configuration depends on when dbt parses it is found, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.harness.repository import PROJECTS

PROFILE = """
whatever_the_team_calls_it:
  target: dev
  outputs:
    dev: {type: postgres, host: 127.0.0.1, port: 1, user: u, password: p, dbname: d, schema: s}
"""

CODE = """
import json, sys
import dbt.tracking
from mage_dbt.worker.project import Project

project = Project.parse(sys.argv[1:], watch_clock=True)
alias = project.manifest.nodes["model.clock.alias_of_now"].alias
kind = type(dbt.tracking.User("").run_started_at).__module__
print("answer", json.dumps([project.clock, alias, kind]))
"""


def test_configuration_that_reads_the_clock_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "clock"
    shutil.copytree(PROJECTS / "clock", folder)
    (folder / "profiles.yml").write_text(PROFILE)
    words = ["--quiet", "--project-dir", str(folder), "--profiles-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found, alias, kind = json.loads(done.stdout.split("answer ")[1])
    assert set(found) == {
        "alias_of_now",
        "enabled_today",
        "refers_by_day",
        "by_macro",
        "only_on_the_first",
        "only_on_sundays",
        "{{ 'in_' ~ run_started_at.strftime('%Y') }}",
        "x > {{ run_started_at.day }}",
    }
    # dbt keeps what it rendered first, and its own clock is back.
    assert alias.startswith("stamped_") and kind == "datetime"
