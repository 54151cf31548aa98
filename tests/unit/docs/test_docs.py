"""What the documents list is what there is."""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from mage_dbt import errors
from mage_dbt.model import problems
from mage_dbt.model.command import COMMANDS
from mage_dbt.model.run import EventKind
from mage_dbt.server import metrics as api_metrics
from mage_dbt.settings import CHECKOUT, RENAMED, meanings
from mage_dbt.tool.command_line import command_line
from mage_dbt.workers.worker import LOG_FILE
from tests.unit.openapi import openapi_document

DOCS = CHECKOUT / "docs"

PACKAGE = Path(errors.__file__).parent

PAGES = sorted([*CHECKOUT.glob("*.md"), CHECKOUT / "tests" / "README.md", *DOCS.rglob("*.md")])


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
    (verbs,) = [
        one for one in command_line()._actions if isinstance(one, argparse._SubParsersAction)
    ]
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
    documented = set(re.findall(r"^\| `((?:GET|POST|PUT) \S+)` \|", text, re.M))
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]+))?\)", page.read_text()):
        if "://" in target:
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors_of(linked), f"{page.name} links to {target}#{anchor}"


def anchors_of(page: Path) -> set[str]:
    """The names that git hosts give to the page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_a_word_of_the_glossary_has_one_meaning() -> None:
    text, _, earlier = (DOCS / "glossary.md").read_text().partition("## Earlier words")
    words = [
        word
        for row in re.findall(r"^\| (.+?) \| ", text, re.M)
        for word in row.split(", ")
        if word != "Word"
    ]
    assert len(words) == len(set(words)) and words[0] == "queue"
    assert "| line | queue |" in earlier
    for name, now in RENAMED.items():
        assert f"| `{name}` | `{now}` |" in earlier


def test_messages_that_lead_to_a_log_are_those_of_the_code() -> None:
    section = (DOCS / "operations.md").read_text().partition("**From the message to the file.**")[2]
    rows = re.findall(r"^\| (.+?) \| ", section.partition("\n\n**")[0], re.M)
    source = "\n".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    pieces = [
        piece.strip()
        for row in rows
        for message in re.findall(r'"([^"]+)"', row)
        for piece in message.split("…")
        if piece.strip()
    ]
    assert len(pieces) > 10
    for piece in pieces:
        assert piece in source, piece


def test_the_log_of_a_run_stands_where_somebody_looks_for_it() -> None:
    assert f"/runs/RUN/{LOG_FILE}" in (DOCS / "operations.md").read_text()


def test_the_layers_on_the_page_are_those_that_are_held() -> None:
    text = (DOCS / "architecture.md").read_text()
    linter = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [one["layers"] for one in linter["contracts"] if one["type"] == "layers"]
    assert "\n".join(f"    {one}" for one in layers) in text
    rows = re.findall(r"^\| (`\w.+?) \| .+ \| .+ \|$", text.partition("| Room |")[2], re.M)
    named = {room.strip("/") for row in rows for room in re.findall(r"`([\w/]+)`", row)}
    assert {room.strip() for layer in layers for room in layer.split("|")} <= named


def test_pages_name_only_modules_that_exist() -> None:
    rooms = {one.name for one in PACKAGE.iterdir() if one.is_dir()}
    for page in PAGES:
        text = page.read_text().partition("## Earlier words")[0]
        for path in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", text):
            if path.partition("/")[0] in rooms:
                assert (PACKAGE / path).exists(), f"{page.name} names {path}"


def test_pages_name_only_errors_that_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`(\w+(?:Error|Missing|Unreachable|Broken))`", page.read_text()):
            assert hasattr(errors, name), f"{page.name} names {name}"
