"""Settings come from the environment or one file, and a wrong one never passes for its default."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from mage_dbt.errors import SettingError
from mage_dbt.settings import RENAMED, Settings

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
    settings = load(
        DAILY_BUILD_AT="07:30",
        DBT_METRIC_REPO="/srv/models",
        MAGE_PORT="7000",
        REFRESH_ROWS_PERCENT="50 - 110",
    )
    assert settings.as_environment()["REFRESH_ROWS_PERCENT"] == "50-110"
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
        ("REFRESH_ROWS_PERCENT", "95", "as in 95-200"),
        ("REFRESH_ROWS_PERCENT", "200-95", "the least percent stands first"),
        ("REFRESH_ROWS_PERCENT", "-5-200", "as in 95-200"),
        ("REFRESH_LOCK_SECONDS", "1.5", "cannot be used"),
        ("REFRESH_SNAPSHOT_SECONDS", "-1", "0 to 86400"),
        ("RESTORE_DROPPED_VIEWS", "yes", "true or false"),
        ("DBT_METRIC_POLL_SECONDS", "0", "0.2"),
        ("DBT_METRIC_REF", "--upload-pack=x", "branch or tag"),
        ("DBT_METRIC_REPO", "--upload-pack=x", "a path or a URL"),
        ("DBT_METRIC_REPO", "https://kim:secret@git.example/models", "password"),
        ("DBT_METRIC_SUBDIR", "../elsewhere", "inside the repository"),
        ("DBT_METRIC_REPO", "https://token@git.example/models", "a user, password or token"),
        ("DBT_TARGET", "--full-refresh", "a target"),
        ("WORKSPACE_DATABASE_URL", "mysql://x", "postgresql://"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:a@b@db/x", "@ as %40"),
        ("WORKSPACE_DATABASE_URL", "postgresql://db:99999/x", "1 to 65535"),
        # Each of these would be taken, and then every call refused or answered with an error.
        ("MAGE_PUBLIC_URL", "https://mage.example:99999", "1 to 65535"),
        ("MAGE_PUBLIC_URL", "https://mage.example:0", "1 to 65535"),
        ("MAGE_PUBLIC_URL", "https://mage.example:https", "1 to 65535"),
        ("MAGE_PUBLIC_URL", "https://[::1", "no URL"),
        ("MAGE_PUBLIC_URL", "https://büro.example", "xn--"),
        ("MAGE_PUBLIC_URL", "https://mage example", "as browsers send it"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingError) as caught:
        load(**{name: value})
    assert name in str(caught.value) and says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DBT_METRIC_REPO", "ssh://git@git.example:2222/models"),
        ("DBT_METRIC_REPO", "git@git.example:team/models"),
        ("DBT_METRIC_REPO", "/srv/kim@corp/models"),
        ("DBT_METRIC_REPO", "file:///srv/kim@corp/models"),
        ("DBT_METRIC_REPO", "https://git.example/team/_git/models"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:a%2Fb@db:5432/x?sslmode=require"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:ab@db/x?application_name=kim@corp"),
        ("WORKSPACE_DATABASE_URL", "postgres:///x?host=/run/postgresql"),
        ("MAGE_PUBLIC_URL", "https://mage.example:8443"),
        ("MAGE_PUBLIC_URL", "http://[::1]:4180"),
    ],
)
def test_what_can_be_used_is_taken_as_it_is(name: str, value: str) -> None:
    settings = load(**{name: value})
    assert getattr(settings, name.lower()) == value
    assert settings.public_origin.startswith("http")


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


@pytest.mark.parametrize(("earlier", "name"), RENAMED.items())
def test_an_earlier_name_is_accepted_and_told_of(
    earlier: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    value = "23:30" if name.endswith("BY") else "7"
    file = tmp_path / "workspace.env"
    file.write_text(f"{earlier}={value}\n")
    by_file = Settings.load({}, file)
    by_environment = Settings.load({earlier: value}, tmp_path / "none")
    assert by_file == by_environment == Settings.load({name: value}, tmp_path / "none")
    assert by_file.as_environment()[name] == value
    assert caplog.text.count(f"is now called {name}") == 2
    caplog.clear()
    both = Settings.load({earlier: "1", name: value}, tmp_path / "none")
    assert both == by_file and not caplog.text
