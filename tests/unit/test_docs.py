"""What the documents list is what there is."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import yaml

from mage_dbt import errors
from mage_dbt.api import metrics as api_metrics
from mage_dbt.api import problems
from mage_dbt.cli import _parser
from mage_dbt.command import COMMANDS
from mage_dbt.run import EventKind
from mage_dbt.settings import CHECKOUT, meanings
from tests.unit.openapi import openapi_document

DOCS = CHECKOUT / "docs"

PAGES = sorted([CHECKOUT / "README.md", *DOCS.glob("*.md")])


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", (DOCS / "settings.md").read_text(), re.M)
    documented = {
        name: ("" if default == "unset" else default.strip("`"), meaning)
        for name, default, meaning in rows
    }
    declared = {
        name: (default.replace(f"{CHECKOUT}/", ""), meaning)
        for name, (default, meaning) in meanings().items()
    }
    assert documented == declared


def test_every_verb_of_the_tool_is_in_the_operations_page() -> None:
    text = (DOCS / "operations.md").read_text()
    (verbs,) = [one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction)]
    assert len(verbs.choices) > 5
    for verb in verbs.choices:
        assert f"mage-dbt {verb}" in text


def test_every_pipeline_is_in_the_readme() -> None:
    text = (CHECKOUT / "README.md").read_text()
    for folder in (CHECKOUT / "mage_project" / "pipelines").iterdir():
        assert f"`{folder.name}`" in text


def test_every_endpoint_is_in_the_page_of_the_api() -> None:
    text = (DOCS / "api.md").read_text()
    endpoints = {
        f"{method.upper()} {path}"
        for path, methods in openapi_document()["paths"].items()
        for method in methods
    }
    documented = set(re.findall(r"^\| `((?:GET|POST) \S+)` \|", text, re.M))
    assert documented == endpoints | {"GET /openapi.json"}


def test_every_kind_of_event_is_in_the_page_of_the_api() -> None:
    section = (DOCS / "api.md").read_text().partition("## Events")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \|", section, re.M)
    assert [kind for row in rows for kind in re.findall(r"`(\w+)`", row)] == list(EventKind)


def test_every_type_of_problem_is_in_the_page_of_the_api() -> None:
    text = (DOCS / "api.md").read_text()
    rows = re.findall(r"^\| `(urn:[\w:-]+)` \| (\d+) \| (.+) \|$", text, re.M)
    declared = {
        (problems.type_of(kind), str(kind.status), problems.title_of(kind))
        for kind in problems.known()
    }
    assert set(rows) == declared and len(rows) == len(declared)


def test_every_filter_field_and_metric_is_in_the_page_of_the_api() -> None:
    text = (DOCS / "api.md").read_text()
    document = openapi_document()
    filters = [one["name"] for one in document["paths"]["/v1/runs"]["get"]["parameters"]]
    body = list(document["components"]["schemas"]["RunRequest"]["properties"])
    for name in filters + body:
        assert f"`{name}`" in text, name
    metrics = (Path(api_metrics.__file__)).read_text()
    for name in re.findall(r'"(mage_dbt_\w+)"', metrics):
        assert f"`{name}" in text, name


def test_the_form_of_dbt_command_names_only_allowed_commands() -> None:
    folder = CHECKOUT / "mage_project" / "pipelines" / "dbt_command"
    pipeline = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert pipeline["variables"]["command"].split()[0] in COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_pages_name_only_errors_that_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`(\w+(?:Error|Missing|Unreachable|Broken))`", page.read_text()):
            assert hasattr(errors, name), f"{page.name} names {name}"
