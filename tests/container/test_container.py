"""What a container's entry point finds, and what it refuses, without starting anything."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from mage_dbt.container.databases import url_of
from mage_dbt.errors import MachineError, SettingError
from mage_dbt.home import Home
from mage_dbt.launcher.environments import DBT, MAGE, Recipe
from mage_dbt.launcher.ports import RELEASE_SECONDS, require_free
from mage_dbt.mage import project
from mage_dbt.settings import Settings
from tests.harness.environments import python
from tests.harness.ports import free_ports

NO_FILE = Path("/nonexistent/workspace.env")


def settings(home: Path, **environ: str) -> Settings:
    return Settings.load({"WORKSPACE_HOME": str(home), **environ}, NO_FILE)


def test_a_role_of_its_own_gets_its_password_from_the_mounted_file(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "postgres-mage").write_text("p@ss/word\n")
    given = settings(tmp_path, POSTGRES_HOST="postgres", POSTGRES_PORT="5432")
    url = url_of("mage", given, Home(tmp_path))
    assert url == "postgresql://mage:p%40ss%2Fword@postgres:5432/workspace"


def test_without_the_file_the_start_says_what_to_mount(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="secrets/postgres-runner cannot be read.*Mount"):
        url_of("runner", settings(tmp_path), Home(tmp_path))


def test_one_url_for_all_is_taken_apart_by_schema(tmp_path: Path) -> None:
    given = settings(tmp_path, WORKSPACE_DATABASE_URL="postgresql://u:p@db.example/w")
    assert "search_path%3Dmage" in url_of("mage", given, Home(tmp_path))
    assert "search_path%3Dledger" in url_of("runner", given, Home(tmp_path))


def test_a_postgresql_elsewhere_is_not_for_scripts_start(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="POSTGRES_HOST=postgres is for containers"):
        require_free(settings(tmp_path, POSTGRES_HOST="postgres"))


def test_a_port_that_is_just_being_given_up_is_waited_for_and_no_other(tmp_path: Path) -> None:
    mage, runner, postgres = map(str, free_ports(3))
    given = settings(tmp_path, MAGE_PORT=mage, RUNNER_PORT=runner, POSTGRES_PORT=postgres)
    began = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", int(runner))),
        pytest.raises(MachineError, match=f"Port {runner} .* cannot be had: Address already in"),
    ):
        require_free(given)
    assert time.monotonic() - began >= RELEASE_SECONDS
    with socket.create_server(("127.0.0.1", int(runner))) as leaving:
        threading.Timer(RELEASE_SECONDS / 4, leaving.close).start()
        require_free(given)
        assert leaving.fileno() == -1


def test_files_in_a_folder_shared_with_a_group_can_be_written_by_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.mage_project.mkdir(parents=True)
    home.mage_project.chmod(0o2770)
    project.install(settings(tmp_path), home)
    file = home.mage_project / "pipelines" / "daily_full_build" / "triggers.yaml"
    assert file.stat().st_mode & 0o777 == 0o660


def test_files_in_a_folder_of_ones_own_cannot(tmp_path: Path) -> None:
    home = Home(tmp_path)
    project.install(settings(tmp_path), home)
    file = home.mage_project / "pipelines" / "daily_full_build" / "triggers.yaml"
    assert file.stat().st_mode & 0o777 == 0o600


def test_mages_entry_point_needs_nothing_that_mages_environment_lacks() -> None:
    mage = str(python(MAGE))
    code = "import sys, mage_dbt.container.mage; print({'psycopg', 'dbt'} & set(sys.modules))"
    done = subprocess.run([mage, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("recipe", [DBT, MAGE], ids=["runner", "mage"])
def test_the_tool_is_a_command_of_each_image_and_spells_itself_as_it_was_called(
    recipe: Recipe, tmp_path: Path
) -> None:
    called = "docker compose -p ours exec runner mage-dbt"
    environment = {"WORKSPACE_HOME": str(tmp_path), "TOOL_COMMAND": called}

    def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python(recipe).with_name("mage-dbt")), *arguments],
            env={"PATH": os.environ["PATH"], **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    status = tool("status")
    assert status.returncode == 2 and "The runner does not answer" in status.stdout, status.stderr
    refused = tool("run", "--full-refresh")
    assert refused.returncode == 2
    assert f"{called} run full_refresh --select" in refused.stderr
    assert f"See {called} run --help." in refused.stderr
