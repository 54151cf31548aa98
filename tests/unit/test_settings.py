"""Settings come from the environment or one file, and a wrong one never passes for its default."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from mage_dbt.errors import SettingError
from mage_dbt.settings import Settings

NO_FILE = Path("/nonexistent/workspace.env")


def load(**environ: str) -> Settings:
    return Settings.load(environ, NO_FILE)


def test_without_any_setting_the_defaults_hold() -> None:
    settings = load()
    assert settings.daily_build_at == time(8, 0)
    assert settings.daily_build_timezone == "Asia/Seoul"
    assert settings.dbt_metric_repo is None
    assert settings.dbt_metric_ref == "main"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "workspace.env"
    file.write_text("# ours\nMAGE_PORT=7001\nRUNNER_PORT='7002'\n\n")
    settings = Settings.load({"MAGE_PORT": "7009"}, file)
    assert (settings.mage_port, settings.runner_port) == (7009, 7002)


def test_settings_survive_being_handed_to_a_process() -> None:
    settings = load(DAILY_BUILD_AT="07:30", DBT_METRIC_REPO="/srv/models", MAGE_PORT="7000")
    assert Settings.load(settings.as_environment(), NO_FILE) == settings


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DBT_METRIC_REPOO", "x", "Did you mean DBT_METRIC_REPO"),
        ("DAILY_BUILD_ZONE", "x", "Unknown setting DAILY_BUILD_ZONE"),
        ("DAILY_BUILD_AT", "8:00", "HH:MM"),
        ("DAILY_BUILD_AT", "25:00", "cannot be used"),
        ("DAILY_BUILD_TIMEZONE", "Asia/Soul", "Did you mean Asia/Seoul"),
        ("MAGE_PORT", "0", "1 to 65535"),
        ("MAGE_PORT", "http", "cannot be used"),
        ("RUNNER_PARALLEL_RUNS", "0", "1 to 1000"),
        ("DBT_METRIC_POLL_SECONDS", "0", "0.2"),
        ("DBT_METRIC_REF", "--upload-pack=x", "branch or tag"),
        ("DBT_METRIC_REPO", "--upload-pack=x", "a path or a URL"),
        ("DBT_METRIC_REPO", "https://kim:secret@git.example/models", "password"),
        ("DBT_METRIC_SUBDIR", "../elsewhere", "inside the repository"),
        ("WORKSPACE_DATABASE_URL", "mysql://x", "postgresql://"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingError) as caught:
        load(**{name: value})
    assert name in str(caught.value) and says in str(caught.value)


def test_an_unknown_name_in_the_file_is_refused_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "workspace.env"
    file.write_text("MAGE_PROT=7001\n")
    with pytest.raises(SettingError, match="MAGE_PROT.*workspace.env.*Did you mean MAGE_PORT"):
        Settings.load({}, file)


def test_a_line_without_a_value_is_named_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / "workspace.env"
    file.write_text("MAGE_PORT=7001\nhello\n")
    with pytest.raises(SettingError, match="line 2"):
        Settings.load({}, file)
