"""The images' Dockerfiles are clean, and hold what the entry points and lock files promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mage_dbt.container.install import choose_dbt
from mage_dbt.errors import SettingError
from mage_dbt.settings import CHECKOUT
from tests.harness.environments import validator
from tests.k8s.tools import said_of

pytestmark = pytest.mark.timeout(900)  # checkov on a busy machine

DOCKERFILES = sorted((CHECKOUT / "images").glob("*.Dockerfile"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    assert said_of([validator("hadolint"), str(dockerfile)]) == (0, "")


def test_checkov_finds_nothing_in_the_dockerfiles() -> None:
    options = ["--framework", "dockerfile", "--quiet", "--compact", "--skip-download"]
    status, said = said_of([validator("checkov"), "--directory", "images", *options])
    assert status == 0 and "Failed checks: 0" in said, said


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_runs_as_a_user_of_its_own_and_copies_only_what_is_there(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert re.findall(r"^USER (\d+):10000$", text, re.M)
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        for source in line.split()[:-1]:
            assert (CHECKOUT / source).exists(), source
            allowed = (CHECKOUT / ".dockerignore").read_text().split()
            assert {f"!{source}", f"!{source.split('/')[0]}"} & set(allowed), source


@pytest.mark.parametrize("name", ["mage", "runner"])
def test_an_image_holds_the_package_whole_and_the_template_of_mage_s_project(name: str) -> None:
    """The page's templates, files and translations lie in the package. Both write Mage's forms."""
    text = (CHECKOUT / "images" / f"{name}.Dockerfile").read_text()
    assert "COPY custom_blocks /opt/mage-dbt/custom_blocks" in text
    assert "COPY mage_project /opt/mage-dbt/mage_project" in text
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    ignored = [line for line in lines if line and not line.startswith(("!", "#"))]
    assert ignored[0] == "*"
    assert all(line.startswith(("**/", "dbt/dbt-metric/")) for line in ignored[1:])


REQUIREMENTS = "# dbt\ndbt-core==1.11.16\ndbt-postgres==1.11.0\n\nhttpx==0.28.1\n"


def test_build_arguments_put_another_dbt_into_the_requirements(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(REQUIREMENTS)
    choose_dbt(file, "1.10.22", "dbt-snowflake==1.11.0")
    assert file.read_text().splitlines()[1:3] == ["dbt-core==1.10.22", "dbt-snowflake==1.11.0"]


def test_without_build_arguments_the_requirements_stay_as_the_lock_file_pins_them(
    tmp_path: Path,
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(REQUIREMENTS)
    choose_dbt(file, "", "")
    assert file.read_text() == REQUIREMENTS


@pytest.mark.parametrize("core", ["1.11.16; rm -rf /", ">=1.11", "1.11 --index-url x"])
def test_a_build_argument_that_is_not_a_version_is_refused(tmp_path: Path, core: str) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(REQUIREMENTS)
    with pytest.raises(SettingError, match="not a version of dbt"):
        choose_dbt(file, core, "")
