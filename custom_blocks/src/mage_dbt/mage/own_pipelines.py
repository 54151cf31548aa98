"""Who may change the workspace's own pipelines and the daily build's trigger on Mage's pages:
operators.

Mage's roles cannot tell an operator from an analyst. Patches make Mage's API call `asked_by` first,
and one of the others where it changes the trigger, or removes, renames, replaces or rearranges a
pipeline or block of the workspace's own. This separates people who use Mage's pages; what a block's
code does is not asked (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mage_dbt.base.tool_command import tool_command
from mage_dbt.errors import Forbidden
from mage_dbt.home import Home
from mage_dbt.identity.role import Role
from mage_dbt.mage.project import DAILY_PIPELINE, DAILY_TRIGGER, PIPELINES, TEMPLATE, THEIRS
from mage_dbt.settings import Settings

DEFINITION = "metadata.yaml"
"""Mage's name for the file that defines a pipeline."""

SWITCHES = ("active", "inactive")
"""A `status` that Mage gives to all triggers of a pipeline."""

SHOWN = ("description", "tags", "created_at", "updated_at", "variables_dir")
"""What of a pipeline's definition does not decide how it runs. Mage writes its folder of variables
into it."""

BLOCK_SHOWN = ("color", "status", "all_upstream_blocks_executed")
"""The same of a block: Mage saves when it ran last in the notebook."""

USUAL = {"executor_type": "local_python", "executor_count": 1}
"""What Mage saves for a field that a definition leaves out; for any other it is empty."""

_role: ContextVar[Role | None] = ContextVar("role", default=None)


def asked_by(request: Any) -> None:
    """Notes who asks in this call of Mage's API. Without a login, and for the runner, an owner."""
    person = request.workspace_person
    _role.set(person.role if person else Role.OWNER)


def refuse() -> None:
    """Raises Forbidden below the role operator, and where nobody knows who asks."""
    role = _role.get()
    if role is not None and role >= Role.OPERATOR:
        return
    raise Forbidden(
        f"Nothing was changed. The trigger {DAILY_TRIGGER!r} begins the daily build: to change it, "
        f"or what holds it, takes the role {Role.OPERATOR}; yours is {role or 'not known'}.",
        "An operator pauses the daily build or changes its time on the workspace's page Settings, "
        f"or with {tool_command('schedule')}. For a build of your own use Run@once, or make "
        "another trigger.",
    )


def refuse_pipeline(uuid: str, name: str, payload: Mapping[str, Any]) -> None:
    """The same for another name of a pipeline of the workspace's own, and for a change that
    switches all triggers of the daily pipeline."""
    if payload.get("name") not in (None, "", name):
        refuse_removal(uuid)
    if uuid == DAILY_PIPELINE and payload.get("status") in SWITCHES:
        refuse()


def refuse_removal(uuid: str) -> None:
    """The same for a removal of a pipeline of the workspace's own, or another put in its place."""
    if uuid == DAILY_PIPELINE:
        refuse()
    elif uuid in PIPELINES:
        _refuse_own(
            f"Nothing was changed. The pipeline {uuid} is the workspace's own: to remove, rename or"
            " replace it",
            "A pipeline of your own needs another name. An operator may change this one, until the "
            "next start writes it again.",
        )


def refuse_loss(path: str) -> None:
    """The same for a file that is removed or gets another name or folder, and for a folder that
    holds one.

    `path` is absolute, or in the Mage project. Links are followed.
    """
    project = _project()
    changed = (project / path).resolve()
    if _triggers_file(project).is_relative_to(changed):
        refuse()
    for uuid in PIPELINES:
        if (project / "pipelines" / uuid).resolve().is_relative_to(changed):
            refuse_removal(uuid)
    if name := next((ours for file, ours in _own(project) if file.is_relative_to(changed)), ""):
        _refuse_own(
            f"Nothing was changed. {name} is the workspace's own: to remove or rename it",
            "A file of your own needs another name.",
        )


def refuse_content(path: str, content: str | bytes | None) -> None:
    """The same for what would be written to the trigger's file, or to the definition of a pipeline
    of the workspace's own, where that would run otherwise.

    `path` is absolute, or in the Mage project. Links are followed.
    """
    project = _project()
    written = (project / path).resolve()
    if written == _triggers_file(project):
        refuse()
    for uuid in PIPELINES:
        definition = (project / "pipelines" / uuid / DEFINITION).resolve()
        if written != definition:
            continue
        there = (_text(definition), _text(TEMPLATE / "pipelines" / uuid / DEFINITION))
        if _runs_by(content or "") not in [_runs_by(text) for text in there if text]:
            _refuse_own(
                f"Nothing was changed. The pipeline {uuid} is the workspace's own: to change its "
                "blocks, variables or how it runs",
                "Make a pipeline of your own, or ask an operator.",
            )


def refuse_import(paths: Iterable[str]) -> None:
    """The same for an imported pipeline that would be written to these files, where one of them is
    the workspace's own.

    Each is absolute, or in the Mage project. Links are followed.
    """
    project = _project()
    own = dict(_own(project))
    for path in paths:
        written = (project / path).resolve()
        if written == _triggers_file(project):
            refuse()
        if name := own.get(written):
            _refuse_own(
                f"Nothing was imported. {name} is the workspace's own: to import over it",
                "Import it without replacing what is there: Mage gives it another name then.",
            )


def _refuse_own(what: str, hint: str) -> None:
    role = _role.get()
    if role is None or role < Role.OPERATOR:
        raise Forbidden(
            f"{what} takes the role {Role.OPERATOR}; yours is {role or 'not known'}.", hint
        )


def _own(project: Path) -> Iterator[tuple[Path, str]]:
    """The files that every start writes again, each with its name in the project."""
    for file in TEMPLATE.rglob("*"):
        name = str(file.relative_to(TEMPLATE))
        if file.is_file() and name not in THEIRS:
            yield (project / name).resolve(), name


def _triggers_file(project: Path) -> Path:
    return (project / "pipelines" / DAILY_PIPELINE / "triggers.yaml").resolve()


def _runs_by(definition: str | bytes) -> Any:
    """What decides how the pipeline runs; the text itself where it is no definition."""
    try:
        found = yaml.safe_load(definition)
        blocks = [_given(block, BLOCK_SHOWN) for block in found["blocks"]]
        return _given(found, (*SHOWN, "blocks")), sorted(blocks, key=repr)
    except (yaml.YAMLError, TypeError, LookupError, AttributeError):
        return definition


def _given(fields: Mapping[str, Any], without: Container[str] = ()) -> dict[str, Any]:
    """The fields that are neither empty nor as usual. Mage saves settings that hold nothing; that
    a variable is there counts, though it is empty."""
    full = {
        name: value if name == "variables" or not isinstance(value, Mapping) else _given(value)
        for name, value in sorted(fields.items())
        if name not in without
    }
    return {name: value for name, value in full.items() if value and value != USUAL.get(name)}


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _project() -> Path:
    return Home(_settings().workspace_home).mage_project.resolve()


@cache
def _settings() -> Settings:
    return Settings.load()
