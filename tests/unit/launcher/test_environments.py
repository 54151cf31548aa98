"""Which environments are made when, without making one: requirements, locks, names, links."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.base.files import replace_link
from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.launcher import environments
from mage_dbt.launcher.environments import ALL, Recipe
from mage_dbt.launcher.progress import Progress

LOCK = """# written by ./scripts/lock
dbt-core==1.11.16 \\
    --hash=sha256:00
psycopg==3.3.9 ; sys_platform == 'linux' \\
    --hash=sha256:01
Types_PyYAML==6.0.1 \\
    --hash=sha256:02
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "requirements.txt").write_text("dbt-core==1.11.16\n")
    (tmp_path / "requirements.lock").write_text(LOCK)
    return Recipe("thing", tmp_path / "requirements.txt")


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.name)
def test_every_requirement_of_the_checkout_is_pinned_by_its_lock(recipe: Recipe) -> None:
    assert recipe.unpinned() == []


def test_the_tests_run_in_the_versions_of_dbts_environment() -> None:
    pins = set(environments._pins(environments.TEST.lock))
    assert set(environments._pins(environments.DBT.lock)) <= pins


@pytest.mark.parametrize(
    ("line", "pinned"),
    [
        ("dbt-core==1.11.16", True),
        ("dbt_core == 1.11.16   # the team's", True),
        ("psycopg[binary,pool]==3.3.9", True),
        ("types-pyyaml==6.0.1", True),
        ("dbt-core==1.10.22", False),
        ("dbt-core~=1.11.0", False),
        ("dbt-core==1.11.*", False),
        ("dbt-trino==1.10.0", False),
        ("dbt-core @ git+https://example.com/dbt-core", False),
    ],
)
def test_a_requirement_the_lock_does_not_answer_is_found(
    recipe: Recipe, line: str, pinned: bool
) -> None:
    recipe.requirements.write_text(f"# dbt\n\n{line}\n")
    assert (recipe.unpinned() == []) is pinned


def test_requirements_of_an_included_file_count(recipe: Recipe) -> None:
    (recipe.requirements.parent / "more.txt").write_text("httpx==0.28.1\n")
    recipe.requirements.write_text("-r more.txt\ndbt-core==1.11.16\n")
    assert recipe.unpinned() == ["httpx==0.28.1"]


def publish(home: Home, recipe: Recipe) -> Path:
    """An environment as an install leaves it."""
    folder = home.environments.resolve()
    name = environments._folder_name(folder, recipe)
    (folder / name).mkdir(parents=True)
    replace_link(folder / recipe.name, Path(name))
    return folder / name


def test_an_environment_is_ready_until_its_lock_changes(tmp_path: Path, recipe: Recipe) -> None:
    home = Home(tmp_path / "home")
    publish(home, recipe)
    assert environments._is_ready(home.environments.resolve(), recipe)
    recipe.lock.write_text(LOCK + "httpx==0.28.1\n")
    assert not environments._is_ready(home.environments.resolve(), recipe)


def test_one_that_was_killed_half_way_is_not_ready(tmp_path: Path, recipe: Recipe) -> None:
    folder = tmp_path / "env"
    (folder / environments._folder_name(folder, recipe)).mkdir(parents=True)
    assert not environments._is_ready(folder, recipe)


def test_one_that_is_not_there_names_the_command_to_run(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(MachineError, match="Run ./scripts/start first"):
        environments.python_of(Home(tmp_path), recipe)


def test_only_what_no_link_points_to_is_removed(tmp_path: Path, recipe: Recipe) -> None:
    home = Home(tmp_path / "home")
    old = publish(home, recipe)
    recipe.lock.write_text(LOCK + "httpx==0.28.1\n")
    new = publish(home, recipe)
    environments.remove_unused(home)
    assert new.is_dir()
    assert not old.exists()


def test_too_little_room_is_said_before_anything_is_installed(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "ROOM_TO_INSTALL", 10**9)
    with pytest.raises(MachineError, match="MB free; this needs .* set WORKSPACE_HOME"):
        environments.ensure(Home(tmp_path / "home"), [recipe], Progress(0))


def test_pips_configuration_reaches_uv() -> None:
    said = "\n".join(
        [
            "global.index-url='https://user:secret@example.com/simple'",
            ":env:.extra-index-url='\\nhttps://one.example/simple\\nhttps://two.example/simple'",
            "global.timeout='60'",
        ]
    )
    assert environments._from_pip(said) == {
        "UV_DEFAULT_INDEX": "https://user:secret@example.com/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
    }


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("error: No space left on device (os error 28)", "disk is full"),
        ("error: dns error: failed to lookup address", "index could not be reached"),
        ("Error: ensurepip is not available", "python3-venv"),
    ],
)
def test_a_failed_install_says_what_to_do(said: str, hint: str) -> None:
    assert hint in environments._install_error(["/env/bin/uv", "pip", "sync"], said).hint


def test_a_password_in_an_indexs_url_is_not_shown() -> None:
    error = environments._install_error(
        ["uv", "pip", "sync"], "failed to fetch https://user:secret@example.com/simple/dbt-core/"
    )
    assert "secret" not in str(error)
    assert "https://example.com/simple/dbt-core/" in str(error)
