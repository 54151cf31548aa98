"""The compiled queries of a refresh are dbt's own, and leave no trace in what is run afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mage_dbt.launcher.database_roles import WAREHOUSE
from tests.dbt.parsed import answer
from tests.harness.base import secret_of
from tests.harness.database import Database
from tests.harness.repository import PROJECTS

BEGIN = """
from mage_dbt.dbt.project import Project
from mage_dbt.dbt.queries import compiled_queries

project = Project.parse(arguments)
arguments += ["--target-path", words[0]]
ids = [f"model.survey.{name}" for name in ("orders", "strict")]

def marks():
    return {
        node.unique_id: [
            node.compiled,
            node.compiled_code,
            [cte.id for cte in node.extra_ctes],
            node.extra_ctes_injected,
            getattr(node, "_pre_injected_sql", None),
        ]
        for node in project.manifest.nodes.values()
    }

heard = []
def hear(event):
    heard.append(event.info.name)
"""

STANDALONE = """
before = marks()
queries, problems = compiled_queries(project, arguments, [*ids, "model.survey.nowhere"])
same = before == marks()
built = project.invoke(["build", *arguments])
again, _ = compiled_queries(project, arguments, ids)
answer({
    "queries": queries, "problems": problems, "same": same, "at_work": project.at_work,
    "built": built.success, "again": again,
    "run": {
        result.node.name: result.node.compiled_code for result in built.result.results
    },
})
"""

ALONE = """
queries, problems = compiled_queries(project, arguments, [*ids, "model.survey.quoted"])
answer({"queries": queries, "problems": problems})
"""

WITHIN = """
found = {}

def selected(task):
    before = marks()
    heard.clear()
    found["queries"], found["problems"] = compiled_queries(project, [], ids)
    found["same"] = before == marks()
    found["heard"] = list(heard)

done = project.invoke_selected(["build", *arguments, "--fail-fast"], selected, hear)
answer({
    **found, "success": done.success, "ended": heard.count("NodeFinished"),
    "warned": heard.count("JinjaLogWarning"),
    "run": {result.node.name: result.node.compiled_code for result in done.result.results},
})
"""


@pytest.fixture
def project(server: Database, tmp_path: Path) -> Path:
    """The project `survey` with a profile for the server, and nothing in the warehouse."""
    server.renew()
    folder = tmp_path / "survey"
    shutil.copytree(PROJECTS / "survey", folder)
    output = {
        **{"type": "postgres", "host": "127.0.0.1", "port": server.port, "user": "dbt"},
        **{"dbname": WAREHOUSE, "schema": "analytics", "threads": 2},
        "password": (server.home.secrets / secret_of("dbt")).read_text(),
    }
    profiles = {"any": {"target": "dev", "outputs": {"dev": output}}}
    (folder / "profiles.yml").write_text(yaml.safe_dump(profiles))
    return folder


def run(code: str, project: Path) -> Any:
    (found,) = answer(BEGIN + code, "survey", project, str(project / "target"))
    return found


def test_the_queries_are_those_that_the_build_afterwards_runs(project: Path) -> None:
    found = run(STANDALONE, project)
    assert found["problems"] == {"model.survey.nowhere": "It has no query."}
    orders = found["queries"]["model.survey.orders"]
    assert "__dbt__cte__deeper as (" in orders and "__dbt__cte__prepared as (" in orders
    assert found["built"] and found["same"] and not found["at_work"]
    assert found["run"]["orders"].strip() == orders.strip()
    # With its table there, a build without --full-refresh would add `where id > …`.
    assert found["again"]["model.survey.orders"].strip() == orders.strip()


def test_within_a_command_nothing_is_heard_and_the_command_runs_as_ever(project: Path) -> None:
    warns = '{% do exceptions.warn("look at this") %}\n'
    model = project / "models" / "strict.sql"
    model.write_text(warns + model.read_text())
    found = run(WITHIN, project)
    assert found["same"] and found["problems"] == {} and len(found["queries"]) == 2
    assert found["heard"] == []
    assert found["success"] and found["warned"] == 1
    assert found["run"]["orders"].strip() == found["queries"]["model.survey.orders"].strip()


def test_a_model_that_does_not_compile_or_that_writes_is_named_beside_the_others(
    project: Path, server: Database
) -> None:
    writes = '{% if execute %}{% do run_query("create table public.log (id int)") %}{% endif %}'
    wrong = '{% if execute %}{{ exceptions.raise_compiler_error("not today") }}{% endif %}'
    for name, code in (("strict", writes), ("orders", wrong)):
        model = project / "models" / f"{name}.sql"
        model.write_text(f"{code}\n{model.read_text()}")
    found = run(ALONE, project)
    assert set(found["queries"]) == {"model.survey.quoted"}
    assert "read-only transaction" in found["problems"]["model.survey.strict"]
    assert "not today" in found["problems"]["model.survey.orders"]
    assert server.rows("dbt", "select to_regclass('public.log')") == [(None,)]
