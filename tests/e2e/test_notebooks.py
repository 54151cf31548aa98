"""What an analyst's block in Mage can do with the warehouse: read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness.workspace import Workspace

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


def test_a_block_reads_the_warehouse_and_cannot_write(workspace: Workspace, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    code = f"STATEMENTS = {list(STATEMENTS)!r}\nANSWER = {str(answer)!r}\n{READS}"
    workspace.add_pipeline("reads_the_warehouse", code, kind="data_loader")
    number = workspace.trigger("reads_the_warehouse")
    assert workspace.ended(number) == "completed"
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
    configuration = {
        **{"data_provider": "postgres", "data_provider_profile": "default"},
        "use_raw_sql": True,
    }
    workspace.add_pipeline(
        name, sql, kind="data_loader", language="sql", configuration=configuration
    )
    assert workspace.ended(workspace.trigger(name)) == wanted
