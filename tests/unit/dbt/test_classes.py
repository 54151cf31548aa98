"""What a zygote has made ready of dbt's classes is not made again by a parse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mage_dbt.settings import CHECKOUT

DEMO = CHECKOUT / "dbt" / "dbt-metric"

PROFILE = """
dbt_metric:
  target: nowhere
  outputs:
    nowhere:
      type: postgres
      host: localhost
      port: 1
      user: nobody
      password: none
      dbname: none
      schema: none
"""

PARSE = """
import json, sys
from dbt.cli.main import dbtRunner
from dbt_common import dataclass_schema
from mage_dbt.dbt import classes

classes.make_ready()
made, make = [], dataclass_schema.build_json_schema
dataclass_schema.build_json_schema = lambda of: made.append(of.__name__) or make(of)
done = dbtRunner().invoke(["parse", "--quiet", "--no-partial-parse", *sys.argv[1:]])
assert done.success, done.exception
print(json.dumps(made))
"""

SCHEMAS = """
import json, sys
from contextlib import ExitStack
from mage_dbt.dbt import classes
from mage_dbt.dbt.patches.patch import apply_fitting
from mage_dbt.dbt.patches.schemas import patches

with ExitStack() as back:
    if sys.argv[1] == "ours":
        assert apply_fitting(patches(), back) == []
    print(json.dumps([checked.json_schema() for checked in classes._checked()]))
"""

LEFT = {
    *("PostgresCredentials", "ProfileConfig", "Contract", "ExposureConfig"),
    *("UnitTestConfig", "UnparsedUnitTest", "UnparsedSingularTestUpdate"),
}
"""Those of an adapter, of what few projects have, and such as take a few ms."""


def test_a_parse_of_the_demo_makes_no_schema_that_was_made_ready(tmp_path: Path) -> None:
    (tmp_path / "profiles.yml").write_text(PROFILE)
    folders = ("--project-dir", DEMO, "--profiles-dir", tmp_path, "--target-path", tmp_path / "t")
    command = [sys.executable, "-c", PARSE, *map(str, folders), "--log-path", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) <= LEFT


def test_the_schemas_made_in_short_are_the_ones_that_dbt_makes() -> None:
    def schemas(whose: str) -> Any:
        command = [sys.executable, "-P", "-c", SCHEMAS, whose]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert schemas("ours") == schemas("dbt's")
