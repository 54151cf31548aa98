"""Who may change the daily build's trigger and the workspace's own pipelines, and how."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from mage_dbt.errors import Forbidden
from mage_dbt.home import Home
from mage_dbt.identity.person import Person
from mage_dbt.identity.role import Role
from mage_dbt.mage import own_pipelines
from mage_dbt.mage.project import DAILY_PIPELINE, PIPELINES, TEMPLATE


def refused(role: Role | None, change: Callable[[], None]) -> bool:
    """Whether the change is refused in a call of Mage's API by somebody with this role."""

    def call() -> bool:
        person = Person("ana@example.com", role) if role else None
        own_pipelines.asked_by(SimpleNamespace(workspace_person=person))
        try:
            change()
        except Forbidden:
            return True
        return False

    return contextvars.copy_context().run(call)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = SimpleNamespace(workspace_home=tmp_path)
    monkeypatch.setattr(own_pipelines, "_settings", lambda: settings)
    found = Home(tmp_path).mage_project
    (found / "pipelines" / DAILY_PIPELINE).mkdir(parents=True)
    (found / "linked").symlink_to("pipelines")
    return found


def test_operators_may_and_so_may_whoever_is_there_without_a_login() -> None:
    assert [role for role in Role if refused(role, own_pipelines.refuse)] == [
        Role.VIEWER,
        Role.ANALYST,
    ]
    assert not refused(None, own_pipelines.refuse)


def test_where_nobody_knows_who_asks_it_is_refused() -> None:
    with pytest.raises(Forbidden, match=r"takes the role operator; yours is not known\."):
        contextvars.Context().run(own_pipelines.refuse)


@pytest.mark.parametrize(
    ("path", "holds"),
    [
        (f"pipelines/{DAILY_PIPELINE}/triggers.yaml", True),
        (f"pipelines/mine/../{DAILY_PIPELINE}/./triggers.yaml", True),
        (f"linked/{DAILY_PIPELINE}/triggers.yaml", True),
        (f"pipelines/{DAILY_PIPELINE}", True),
        (f"pipelines/{DAILY_PIPELINE}/", True),
        ("pipelines", True),
        ("", True),
        ("..", True),
        (f"pipelines/{DAILY_PIPELINE}/metadata.yaml", True),
        (f"pipelines/{DAILY_PIPELINE}_mine", False),
        ("pipelines/mine/triggers.yaml", False),
        ("custom/mine.py", False),
        ("pipelines/rerun_failed", True),
        ("pipelines/rerun_failed/triggers.yaml", True),
        ("custom/rerun_failed.py", True),
        ("custom", True),
        ("interactions/", True),
        ("io_config.yaml", False),
    ],
)
def test_a_loss_of_what_every_start_writes_is_refused(
    project: Path, path: str, holds: bool
) -> None:
    for given in (path, str(project / path)):
        change = partial(own_pipelines.refuse_loss, given)
        assert refused(Role.ANALYST, change) is holds
        assert not refused(Role.OPERATOR, change)


@pytest.mark.parametrize(
    ("uuid", "payload", "moves"),
    [
        (DAILY_PIPELINE, {"status": "inactive"}, True),
        (DAILY_PIPELINE, {"status": "active"}, True),
        (DAILY_PIPELINE, {"name": "mornings"}, True),
        (DAILY_PIPELINE, {"name": DAILY_PIPELINE, "description": "all"}, False),
        (DAILY_PIPELINE, {"status": "cancelled"}, False),
        ("mine", {"status": "inactive", "name": "other"}, False),
        ("rerun_failed", {"name": "other"}, True),
        ("rerun_failed", {"status": "inactive"}, False),
    ],
)
def test_of_its_pipeline_a_new_name_and_the_switch_of_all_triggers_are_refused(
    uuid: str, payload: dict[str, str], moves: bool
) -> None:
    change = partial(own_pipelines.refuse_pipeline, uuid, uuid, payload)
    assert refused(Role.ANALYST, change) is moves


@pytest.mark.parametrize("uuid", PIPELINES)
def test_no_pipeline_of_the_workspaces_own_is_removed_below_operator(uuid: str) -> None:
    change = partial(own_pipelines.refuse_removal, uuid)
    assert refused(Role.ANALYST, change) and not refused(Role.OPERATOR, change)
    assert not refused(Role.ANALYST, partial(own_pipelines.refuse_removal, f"{uuid}_1"))


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        (f"pipelines/{DAILY_PIPELINE}/metadata.yaml", True),
        (f"pipelines/{DAILY_PIPELINE}/triggers.yaml", True),
        (f"pipelines/mine/../{DAILY_PIPELINE}/metadata.yaml", True),
        (f"linked/{DAILY_PIPELINE}/metadata.yaml", True),
        ("pipelines/rerun_failed/metadata.yaml", True),
        (f"custom/{DAILY_PIPELINE}.py", True),
        (f"pipelines/{DAILY_PIPELINE}_1/metadata.yaml", False),
        ("custom/mine.py", False),
        ("io_config.yaml", False),
    ],
)
def test_an_import_over_a_file_of_the_workspaces_own_is_refused(
    project: Path, path: str, ours: bool
) -> None:
    for given in (path, str(project / path)):
        change = partial(own_pipelines.refuse_import, ["custom/mine_too.py", given])
        assert refused(Role.ANALYST, change) is ours
        assert not refused(Role.OPERATOR, change)


RERUN = f"pipelines/rerun_failed/{own_pipelines.DEFINITION}"


@pytest.mark.parametrize(
    ("key", "value", "otherwise"),
    [
        ("description", "What failed.", False),
        ("widgets", [], False),
        ("widgets", [{"uuid": "chart"}], True),
        ("settings", {"triggers": {"save_in_code_automatically": True}}, True),
        ("name", "again", True),
        ("executor_type", "k8s", True),
        ("executor_type", "local_python", False),
        ("conditionals", [{"uuid": "never"}], True),
        ("variables", {}, True),
        ("blocks", [], True),
        ("blocks", None, True),
        ("blocks", ["rerun_failed"], True),
    ],
)
def test_a_definition_that_runs_otherwise_is_refused(
    project: Path, key: str, value: object, otherwise: bool
) -> None:
    fields = yaml.safe_load((TEMPLATE / RERUN).read_text())
    # Mage saves the blocks in any order, with fields of its own that are empty.
    fields["blocks"] = [{**block, "timeout": None} for block in reversed(fields["blocks"])]
    content = yaml.safe_dump(fields | {key: value})
    change = partial(own_pipelines.refuse_content, RERUN, content)
    assert refused(Role.ANALYST, change) is otherwise
    assert not refused(Role.OPERATOR, change)


@pytest.mark.parametrize("field", ["replicated_block", "content", "timeout", "upstream_blocks"])
def test_another_field_of_a_block_is_refused(project: Path, field: str) -> None:
    fields = yaml.safe_load((TEMPLATE / RERUN).read_text())
    fields["blocks"][-1][field] = "about_rerun_failed"
    change = partial(own_pipelines.refuse_content, RERUN, yaml.safe_dump(fields))
    assert refused(Role.ANALYST, change)


@pytest.mark.parametrize("content", [None, "", b"", "blocks: [", "- a", "\0", b"\xff"])
def test_what_is_no_definition_is_refused(project: Path, content: str | bytes | None) -> None:
    assert refused(Role.ANALYST, partial(own_pipelines.refuse_content, RERUN, content))


def test_what_an_operator_changed_is_saved_again_by_anybody(project: Path) -> None:
    (project / RERUN).parent.mkdir()
    (project / RERUN).write_text(changed := "name: rerun_failed\nblocks: []\n")
    for content in (changed, (TEMPLATE / RERUN).read_text()):
        assert not refused(Role.ANALYST, partial(own_pipelines.refuse_content, RERUN, content))


def test_only_what_begins_the_daily_build_is_kept_as_it_is(project: Path) -> None:
    for path, kept in (
        (f"pipelines/{DAILY_PIPELINE}/triggers.yaml", True),
        ("pipelines/rerun_failed/triggers.yaml", False),
        ("custom/rerun_failed.py", False),
        ("pipelines/mine/metadata.yaml", False),
    ):
        change = partial(own_pipelines.refuse_content, path, "a text")
        assert refused(Role.ANALYST, change) is kept, path
