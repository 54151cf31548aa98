"""Every command of the tool that a person is told to paste is spelled by one place."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mage_dbt.alerts import message
from mage_dbt.base import tool_command
from mage_dbt.settings import CHECKOUT, Settings
from mage_dbt.tool.command_line import command_line

PACKAGE = CHECKOUT / "custom_blocks" / "src" / "mage_dbt"


def verbs() -> list[str]:
    (found,) = [
        one for one in command_line()._actions if isinstance(one, argparse._SubParsersAction)
    ]
    return list(found.choices)


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """Each text of a module with its line, pieces of f-strings too, but for its docstrings."""
    tree = ast.parse(file.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield node.lineno, str(node.value)


def test_no_hint_spells_the_tool_by_itself() -> None:
    pasted = re.compile(rf"scripts/mage-dbt|mage_dbt\.tool\b|mage-dbt ({'|'.join(verbs())})\b")
    found = [
        f"{file.relative_to(PACKAGE)}:{line}: {text}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for line, text in texts(file)
        # The database's names of sessions, the bootstrap's argument: nobody types them.
        if pasted.search(text) and text not in ("mage-dbt run ", "mage_dbt.tool")
    ]
    assert [one for one in found if not one.startswith("base/tool_command.py")] == []


def test_an_alert_spells_the_tool_as_the_deployment_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def body() -> str:
        return message.commit_broken("3f2c1ab", "Add refunds", "Kim", "no such model", "").body

    monkeypatch.delenv(tool_command.SETTING, raising=False)
    assert "; ./scripts/mage-dbt status says when it is live" in body()
    monkeypatch.setenv(tool_command.SETTING, "ssh build mage-dbt")
    assert "; ssh build mage-dbt status says when it is live" in body()


def test_the_setting_is_handed_to_every_process_under_the_name_that_hints_read() -> None:
    settings = Settings.load({tool_command.SETTING: "ssh build mage-dbt"}, Path("/nonexistent"))
    assert settings.as_environment()[tool_command.SETTING] == "ssh build mage-dbt"


def test_compose_and_kubernetes_name_their_own_runner() -> None:
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    spelled = f"docker compose -p {compose['name']} exec runner mage-dbt"
    for service in ("runner", "mage"):
        declared = compose["services"][service]["environment"][tool_command.SETTING]
        assert declared == f"${{{tool_command.SETTING}:-{spelled}}}"
    base = CHECKOUT / "k8s" / "base"
    namespace = yaml.safe_load((base / "namespace.yaml").read_text())["metadata"]["name"]
    deployment = yaml.safe_load((base / "deployment.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]["containers"]
    assert "runner" in [one["name"] for one in pod]
    name = deployment["metadata"]["name"]
    within = f"kubectl -n {namespace} exec deploy/{name} -c runner -- mage-dbt"
    assert f"{tool_command.SETTING}={within}" in (base / "settings.env").read_text().splitlines()
    page = (CHECKOUT / "docs" / "operations.md").read_text()
    assert f"`{spelled} …`" in page and f"`{within} …`" in page
