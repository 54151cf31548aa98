"""The Mage project: what the template holds, and what installing it keeps of people's work."""

from __future__ import annotations

import ast
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from mage_dbt.home import Home
from mage_dbt.mage import project
from mage_dbt.mage.project import API_TRIGGER, DAILY_TRIGGER, PIPELINES, TEMPLATE, FormModel
from mage_dbt.model.schedule import Schedule
from mage_dbt.settings import Settings

MODELS = [FormModel("stg_orders"), FormModel("fct_orders", True, "One row an order.\nMore.")]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Installed:
    """A project installed in a folder of the test's."""

    def __init__(self, root: Path, zone: str = "Europe/Berlin") -> None:
        self.home = Home(root)
        environ = {"WORKSPACE_HOME": str(root), "DAILY_BUILD_TIMEZONE": zone}
        self.settings = Settings.load(environ, file=root / "no.env")

    @property
    def schedule(self) -> Schedule:
        settings = self.settings
        return Schedule.by_settings(settings.daily_build_at, settings.daily_build_timezone)

    def install(self, now: str = "2026-11-23 03:00") -> None:
        project.install(self.settings, self.home, at(now))

    def write_schedule(self, now: str) -> dict[str, Any]:
        project.write_schedule(self.schedule, self.home, at(now))
        return self.trigger("daily_full_build", DAILY_TRIGGER)

    def triggers(self, pipeline: str) -> Path:
        return self.home.mage_project / "pipelines" / pipeline / "triggers.yaml"

    def trigger(self, pipeline: str, name: str) -> dict[str, Any]:
        found = read(self.triggers(pipeline))["triggers"]
        return next(one for one in found if one["name"] == name)

    def edit(self, pipeline: str, name: str, **changes: object) -> None:
        """As Mage writes it when somebody changes a trigger on the screen."""
        triggers = read(self.triggers(pipeline))["triggers"]
        next(one for one in triggers if one["name"] == name).update(changes)
        self.triggers(pipeline).write_text(yaml.safe_dump({"triggers": triggers}))


@pytest.fixture
def mage(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


def test_every_block_is_a_shim_of_twelve_lines_that_calls_one_function() -> None:
    shims = sorted((TEMPLATE / "custom").glob("*.py"))
    assert {one.stem for one in shims} == set(PIPELINES)
    for shim in shims:
        text = shim.read_text()
        assert len(text.splitlines()) <= 12, shim
        body = ast.parse(text).body[-1]
        assert isinstance(body, ast.FunctionDef)
        assert len(body.body) == 1
        assert f"blocks.{shim.stem}(kwargs)" in text


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_form_asks_for_variables_that_its_pipeline_has(pipeline: str) -> None:
    form = TEMPLATE / "interactions" / f"{pipeline}.yaml"
    variables = read(TEMPLATE / "pipelines" / pipeline / "metadata.yaml")["variables"]
    if not form.exists():
        assert not variables, "variables, and no form to fill them in"
        return
    fields = read(form)
    assert set(fields["variables"]) == set(variables)
    assert {item["variable"] for row in fields["layout"] for item in row} == set(variables)
    assert all(one["input"] in fields["inputs"] for one in fields["variables"].values())
    for one in fields["inputs"].values():
        # Mage sends the label in place of a value that is false.
        assert all(option["value"] for option in one.get("options", []))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_guide_of_a_pipeline_names_every_variable(pipeline: str) -> None:
    variables = read(TEMPLATE / "pipelines" / pipeline / "metadata.yaml")["variables"]
    guide = (TEMPLATE / "markdowns" / f"about_{pipeline}.md").read_text()
    assert all(f"`{name}`" in guide for name in variables)


def test_every_guide_begins_with_the_page_and_the_live_commit(mage: Installed) -> None:
    mage.install()
    guides = sorted((mage.home.mage_project / "markdowns").glob("*.md"))
    assert {guide.stem for guide in guides} == {f"about_{pipeline}" for pipeline in PIPELINES}
    for guide in guides:
        assert "](http://127.0.0.1:4182/)" in guide.read_text().split("\n")[2]
    project.write_guides(mage.settings, mage.home, "Live: `3f2c1ab` Rename.")
    for guide in guides:
        title, _, page, live, gap, *rest = guide.read_text().split("\n")
        assert title.startswith("## ") and "](http://127.0.0.1:4182/)" in page
        assert (live, gap) == ("Live: `3f2c1ab` Rename.  ", "")
        assert "\n".join(rest).strip() in (TEMPLATE / "markdowns" / guide.name).read_text()


def test_every_pipeline_has_an_api_trigger_with_the_workspaces_token(mage: Installed) -> None:
    mage.install()
    token = mage.home.mage_trigger_token.read_text()
    assert token.isalnum()
    assert len(token) == 64
    for pipeline in PIPELINES:
        trigger = mage.trigger(pipeline, API_TRIGGER)
        assert (trigger["token"], trigger["status"]) == (token, "active")
        assert mage.triggers(pipeline).stat().st_mode & 0o077 == 0
    mage.install()
    assert mage.home.mage_trigger_token.read_text() == token
    assert token not in "".join(path.read_text() for path in TEMPLATE.rglob("*.yaml"))


def test_what_analysts_added_and_paused_stays_and_our_files_come_back(mage: Installed) -> None:
    mage.install()
    ours = mage.home.mage_project / "custom" / "dbt_command.py"
    theirs = mage.home.mage_project / "custom" / "theirs.py"
    ours.write_text("broken")
    theirs.write_text("theirs")
    added = {"name": "Mondays", "schedule_type": "time", "schedule_interval": "@weekly"}
    triggers = read(mage.triggers("daily_full_build"))["triggers"]
    mage.triggers("daily_full_build").write_text(yaml.safe_dump({"triggers": [*triggers, added]}))
    mage.edit("daily_full_build", DAILY_TRIGGER, status="inactive")
    mage.install()
    assert ours.read_text() == (TEMPLATE / "custom" / "dbt_command.py").read_text()
    assert theirs.read_text() == "theirs"
    assert mage.trigger("daily_full_build", "Mondays") == added
    assert mage.trigger("daily_full_build", DAILY_TRIGGER)["status"] == "inactive"


def test_the_forms_offer_the_models_and_the_refresh_only_what_it_swaps(mage: Installed) -> None:
    mage.install()
    project.write_forms(mage.home, MODELS)
    mage.install()  # a later start, before any commit is ready
    forms = mage.home.mage_project / "interactions"
    rerun = read(forms / "single_model_rerun.yaml")["inputs"]["model"]["options"]
    refresh = read(forms / "incremental_full_refresh.yaml")["inputs"]["model"]["options"]
    assert [one["value"] for one in rerun] == ["fct_orders", "stg_orders"]
    assert refresh == [{"label": "fct_orders: One row an order.", "value": "fct_orders"}]
    assert read(forms / "undo_refresh.yaml")["inputs"]["model"]["options"] == refresh


def test_the_cron_moves_on_the_date_on_which_clocks_change_and_not_before(mage: Installed) -> None:
    mage.install("2026-03-27 12:00")
    assert mage.trigger("daily_full_build", DAILY_TRIGGER)["schedule_interval"] == "0 7 * * *"
    assert mage.write_schedule("2026-03-28 22:59")["schedule_interval"] == "0 7 * * *"
    moved = mage.write_schedule("2026-03-28 23:00")
    assert moved["schedule_interval"] == "0 6 * * *"
    assert moved["settings"]["create_initial_pipeline_run"] is False


def test_a_daily_build_missed_while_clocks_changed_is_still_requested(mage: Installed) -> None:
    mage.install("2026-03-27 12:00")
    mage.install("2026-03-29 09:00")  # down since Friday; Sunday's 08:00 was two hours ago
    trigger = mage.trigger("daily_full_build", DAILY_TRIGGER)
    assert trigger["schedule_interval"] == "0 6 * * *"
    assert trigger["settings"]["create_initial_pipeline_run"] is True
    assert (
        mage.write_schedule("2026-03-30 00:00")["settings"]["create_initial_pipeline_run"] is False
    )


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "bytes", "large", "list", "strange"])
def test_whatever_a_notebook_puts_in_place_of_the_triggers_holds_nobody_up(
    mage: Installed, tmp_path: Path, kind: str
) -> None:
    mage.install()
    path = mage.triggers("daily_full_build")
    whole = path.read_bytes()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "elsewhere.yaml").write_bytes(whole.replace(b"active", b"inactive"))
        path.symlink_to(tmp_path / "elsewhere.yaml")
    elif kind == "folder":
        path.mkdir()
    else:
        text = {
            "bytes": b"\xff\xfe triggers",
            "large": b"triggers: []\n" + b"#" * 1_000_001,
            "list": b"triggers: [1, [2], null]",
            "strange": whole + b"  last_enabled_at: yesterday\n",
        }
        path.write_bytes(text[kind])
    project.write_schedule(mage.schedule, mage.home, at("2026-11-24 03:00"))
    assert not project.daily_is_paused(mage.home)


def test_a_new_workspace_has_no_daily_build_to_make_up_for(mage: Installed) -> None:
    mage.install("2026-11-23 11:00")
    trigger = mage.write_schedule("2026-11-23 11:01")
    assert trigger["last_enabled_at"] == at("2026-11-23 11:00")
    assert trigger["settings"]["create_initial_pipeline_run"] is False


def test_a_trigger_switched_on_at_noon_does_not_fire_for_the_daily_build(mage: Installed) -> None:
    mage.install("2026-11-23 03:00")
    noon = at("2026-11-23 11:00")
    mage.edit("daily_full_build", DAILY_TRIGGER, last_enabled_at=noon)
    assert mage.write_schedule("2026-11-23 11:01")["last_enabled_at"] == noon


def test_a_triggers_file_that_mage_is_writing_is_left_alone(mage: Installed) -> None:
    mage.install()
    for half in ("", "triggers:\n- name: 'Every"):
        mage.triggers("daily_full_build").write_text(half)
        project.write_schedule(mage.schedule, mage.home, at("2026-11-24 03:00"))
        assert mage.triggers("daily_full_build").read_text() == half


def test_a_build_that_was_due_before_the_workspace_was_there_is_not_late(tmp_path: Path) -> None:
    found = Installed(tmp_path, "Asia/Seoul")
    due = at("2026-11-29 23:00")  # 08:00 on the 30th in Seoul
    assert project.begins_late(found.home, due), "nothing is known without a trigger"
    found.install("2026-11-30 03:00")
    assert not project.begins_late(found.home, due)
    found.write_schedule("2026-11-30 23:30")
    assert project.begins_late(found.home, at("2026-11-30 23:00"))
