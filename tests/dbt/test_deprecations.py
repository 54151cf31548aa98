"""A run's summary of what is deprecated is that of one command of dbt's, not of all before it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.dbt.parsed import answer
from tests.harness.repository import PROJECTS

OLD = """
data-paths: ["seeds"]
models:
  nightly:
    materialized: table
"""
"""A key that is deprecated wherever it stands, and one that only `deps` minds, which knows no
adapter (`materialized` without a plus)."""

ITSELF = """
import dbt.deprecations
from dbt.cli.main import dbtRunner

done = dbtRunner().invoke(["compile", "--select", "nothing", "--no-populate-cache", *arguments])
answer(dict(dbt.deprecations.active_deprecations))
"""

AS_A_RUN = """
import dbt.deprecations
from dbt.cli.main import dbtRunner
from mage_dbt.dbt.project import Project

dbtRunner().invoke(["deps", *arguments])
before = dict(dbt.deprecations.active_deprecations)
project = Project.parse(arguments)
project.warm(arguments)
project.invoke(["compile", "--select", "nothing", "--no-populate-cache", *arguments])
answer(dict(dbt.deprecations.active_deprecations), before)
"""


def test_what_is_deprecated_is_counted_as_one_command_of_dbts_counts_it(tmp_path: Path) -> None:
    for name in ("itself", "as_a_run"):
        shutil.copytree(PROJECTS / "nightly", tmp_path / name)
        with (tmp_path / name / "dbt_project.yml").open("a") as file:
            file.write(OLD)
    [right] = answer(ITSELF, "nightly", tmp_path / "itself")
    found, before = answer(AS_A_RUN, "nightly", tmp_path / "as_a_run")
    assert right["project-config-data-paths"] == 1
    assert "missing-plus-prefix-in-config-deprecation" in before.keys() - right.keys()
    assert found == right
