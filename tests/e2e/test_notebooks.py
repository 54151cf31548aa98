"""What an analyst's block in Mage can do with the warehouse: read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mage_dbt.errors import Unavailable
from tests.e2e.conftest import Workspace
from tests.live import wait_until

READS = """
import json
from os import path
from mage_ai.io.config import ConfigFileLoader
from mage_ai.io.postgres import Postgres
from mage_ai.settings.repo import get_repo_path

@data_loader
def load(*args, **kwargs):
    config = ConfigFileLoader(path.join(get_repo_path(), "io_config.yaml"), "default")
    found = {}
    for statement in STATEMENTS:
        try:
            with Postgres.with_config(config) as warehouse:
                warehouse.execute("set transaction read write")
                if statement.startswith("select"):
                    found[statement] = str(warehouse.load(statement).iloc[0, 0])
                else:
                    warehouse.execute(statement)
                    warehouse.commit()
                    found[statement] = "done"
        except Exception as error:
            found[statement] = type(error).__name__
    with open(ANSWER, "w") as file:
        json.dump(found, file)
"""

STATEMENTS = {
    "select count(*) from analytics.numbers": "3",
    "select current_user": "analyst",
    "delete from analytics.numbers": "InsufficientPrivilege",
    "create table analytics.mine as select 1 as id": "InsufficientPrivilege",
    "select 1 from ledger.run": "DatabaseError",
    "select 1 from mage.users": "DatabaseError",
}


def add_pipeline(workspace: Workspace, name: str, block: dict[str, object], code: str) -> None:
    project = workspace.live.home.mage_project
    folder = project / "pipelines" / name
    folder.mkdir(parents=True)
    block = {
        "uuid": name,
        "name": name,
        "type": "data_loader",
        "upstream_blocks": [],
        "downstream_blocks": [],
        **block,
    }
    pipeline = {"name": name, "uuid": name, "type": "python", "blocks": [block]}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(pipeline))
    trigger = {
        "name": "API",
        "schedule_type": "api",
        "status": "active",
        "schedule_interval": None,
        "start_time": None,
        "token": workspace.live.home.mage_trigger_token.read_text(),
    }
    (folder / "triggers.yaml").write_text(yaml.safe_dump({"triggers": [trigger]}))
    kind = "sql" if block["language"] == "sql" else "py"
    file = project / "data_loaders" / f"{name}.{kind}"
    file.parent.mkdir(exist_ok=True)
    file.write_text(code)


def start(workspace: Workspace, pipeline: str) -> int:
    """Starts a pipeline once Mage has read its trigger."""

    def started() -> int | str:
        try:
            return workspace.trigger(pipeline)
        except Unavailable as error:
            return str(error)

    return wait_until(f"the trigger of {pipeline}", started, 60)


def test_a_block_reads_the_warehouse_and_cannot_write(workspace: Workspace, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    code = f"STATEMENTS = {list(STATEMENTS)!r}\nANSWER = {str(answer)!r}\n{READS}"
    add_pipeline(workspace, "reads_the_warehouse", {"language": "python"}, code)
    number = start(workspace, "reads_the_warehouse")
    assert workspace.over(number) == "completed"
    assert json.loads(answer.read_text()) == STATEMENTS


@pytest.mark.parametrize(
    ("name", "sql", "wanted"),
    [
        ("sql_reads", "select * from analytics.numbers", "completed"),
        ("sql_writes", "delete from analytics.numbers; select 1 as id", "failed"),
    ],
)
def test_an_sql_block_reads_the_warehouse_and_cannot_write(
    workspace: Workspace, name: str, sql: str, wanted: str
) -> None:
    block: dict[str, object] = {
        "language": "sql",
        "configuration": {
            "data_provider": "postgres",
            "data_provider_profile": "default",
            "use_raw_sql": True,
        },
    }
    add_pipeline(workspace, name, block, sql)
    assert workspace.over(start(workspace, name)) == wanted
