"""Secrets come as variables, as files named by variables, or as a folder of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.base.secret_values import FOR_DBT, read
from mage_dbt.commits.graph_key import dbt_environment
from mage_dbt.errors import SettingError
from mage_dbt.settings import Settings

NO_FILE = Path("/nonexistent/workspace.env")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As Kubernetes mounts one: links to files, a hidden folder, and secrets of others."""
    made = tmp_path / "secrets"
    data = made / "..data"
    data.mkdir(parents=True)
    (data / "DBT_ENV_SECRET_PASSWORD").write_text("from the folder\n")
    (data / "api-token").write_text("not for dbt")
    for name in ("DBT_ENV_SECRET_PASSWORD", "api-token"):
        (made / name).symlink_to(Path("..data") / name)
    return made


def test_a_folders_file_wins_over_a_named_file_and_that_over_the_variable(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "user").write_text("from a file")
    environ = {
        "DBT_ENV_SECRET_PASSWORD": "from the environment",
        "DBT_ENV_SECRET_USER": "from the environment",
        "DBT_ENV_SECRET_USER_FILE": str(tmp_path / "user"),
        "DBT_ENV_SECRET_HOST": "from the environment",
        "OTHER": "x",
    }
    assert read(environ, FOR_DBT, folder) == {
        "DBT_ENV_SECRET_PASSWORD": "from the folder",
        "DBT_ENV_SECRET_USER": "from a file",
        "DBT_ENV_SECRET_HOST": "from the environment",
    }


def test_a_changed_file_holds_from_the_next_dbt_process_on(folder: Path) -> None:
    environ = {"DBT_SECRETS_DIR": str(folder), "WORKSPACE_DATABASE_URL": "postgresql://x"}
    assert dbt_environment(environ)["DBT_ENV_SECRET_PASSWORD"] == "from the folder"
    (folder / "..data" / "DBT_ENV_SECRET_PASSWORD").write_text("changed")
    now = dbt_environment(environ)
    assert now["DBT_ENV_SECRET_PASSWORD"] == "changed"
    assert not {"DBT_SECRETS_DIR", "WORKSPACE_DATABASE_URL"} & set(now)


@pytest.mark.parametrize("content", [None, "", "\n", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | bytes | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingError, match=f"DBT_ENV_SECRET_X_FILE: {file} "):
        read({"DBT_ENV_SECRET_X_FILE": str(file)}, FOR_DBT, None)


def test_a_folder_that_is_missing_is_named() -> None:
    with pytest.raises(SettingError, match="DBT_SECRETS_DIR=/nonexistent"):
        read({}, FOR_DBT, Path("/nonexistent"))


def test_the_databases_url_may_stand_in_a_file_and_stays_there(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://kim:hush@db/workspace\n")
    settings = Settings.load({"WORKSPACE_DATABASE_URL_FILE": str(file)}, NO_FILE)
    assert settings.workspace_database_url == "postgresql://kim:hush@db/workspace"
    handed_on = settings.as_environment()
    assert "hush" not in str(handed_on)
    assert Settings.load(handed_on, NO_FILE) == settings


def test_the_url_in_two_places_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://db/workspace")
    environ = {"WORKSPACE_DATABASE_URL_FILE": str(file), "WORKSPACE_DATABASE_URL": "postgresql://x"}
    with pytest.raises(SettingError, match="both set"):
        Settings.load(environ, NO_FILE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKSPACE_DATABASE_URL", "mysql://kim:hush-hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "kim:hush-hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql:/kim:hush-hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:hush-/-hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:12/hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:hush@-hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:hush-#-hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:12?hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:12?a=hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:hush-%-hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:hush-℀-hush@db/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:hush-hush@db:99999/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:hush-hush@db:port/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:hush-hush@[::1/x"),
        ("WORKSPACE_DATABASE_URL", "postgresql://db/x?hush-hush"),
        ("WORKSPACE_DATABASE_URL", "postgresql://kim:hush\nhush@db/x"),
        ("DBT_METRIC_REPO", "https://kim:hush-hush@git.example/models"),
        ("DBT_METRIC_REPO", "https://hush-hush@git.example/models"),
        ("DBT_METRIC_REPO", "https:/hush-hush@git.example/models"),
        ("DBT_METRIC_REPO", "https//kim:hush-hush@git.example/models"),
        ("DBT_METRIC_REPO", "https://git.example/models?private_token=hush-hush"),
        ("DBT_METRIC_REPO", "ssh://git:hush-hush@git.example/models"),
        ("DBT_METRIC_REPO", "kim:hush-hush@git.example:models"),
        ("MAGE_PUBLIC_URL", "https://kim:hush-hush@mage.example"),
        ("MAGE_PUBLIC_URL", "https://kim:hush-/-hush@mage.example"),
        ("MAGE_PUBLIC_URL", "mage.example?token=hush-hush"),
    ],
)
def test_a_refused_setting_does_not_say_its_password(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name) as caught:
        Settings.load({name: value}, NO_FILE)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "line", ["WORKSPACE_DATABASE_URL postgresql://kim:hush@db/x", "postgresql://kim:hush@db/x?a=b"]
)
def test_a_line_that_is_no_setting_does_not_say_its_password(tmp_path: Path, line: str) -> None:
    file = tmp_path / "workspace.env"
    file.write_text(f"MAGE_PORT=7001\n{line}\n")
    with pytest.raises(SettingError, match="line 2") as caught:
        Settings.load({}, file)
    assert "hush" not in str(caught.value)
