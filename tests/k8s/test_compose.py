"""docker-compose.yml is clean, and every service of it is as closed as the page says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mage_dbt.settings import CHECKOUT
from tests.conftest import not_run
from tests.k8s import tools
from tests.k8s.tools import said_of

FILES = ("docker-compose.yml", "docker-compose.development.yml")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", FILES)
def test_dclint_finds_nothing(file: str) -> None:
    if shutil.which("npm") is None:
        not_run("no npm here; dclint comes with it")
    command = [str(tools.dclint()), "--config", ".dclintrc.yaml", "--max-warnings", "0", file]
    assert said_of(command)[0] == 0, said_of(command)[1]


def test_every_service_is_closed(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service["user"].startswith("0"), name
        assert "privileged" not in service, name


def test_only_the_proxies_ports_are_published_and_only_on_loopback(
    services: dict[str, Any],
) -> None:
    published = {name: one["ports"] for name, one in services.items() if "ports" in one}
    assert published == {"front": ["127.0.0.1:4180:4180", "127.0.0.1:4181:4181"]}
    # Not beside Mage: code in a notebook could listen at the port of a proxy that is away.
    assert {
        name for name, one in services.items() if one.get("network_mode") == "service:front"
    } == {
        "people",
        "machines",
    }
    assert services["people"]["environment"]["PEOPLE_LISTEN"] == "0.0.0.0:4180"
    assert services["machines"]["environment"]["MACHINES_LISTEN"] == "0.0.0.0:4181"


def test_every_image_has_a_version(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert ":" in service["image"] and not service["image"].endswith(":latest"), name


def secrets_of(service: dict[str, Any]) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in service.get("secrets", [])}


def test_each_process_gets_only_its_own_secrets(services: dict[str, Any]) -> None:
    mage = secrets_of(services["mage"])
    assert mage <= {
        *("postgres-mage", "postgres-analyst"),
        *("mage-jwt", "mage-trigger-token", "runner-to-mage"),
    }
    assert not mage & secrets_of(services["people"]) and not mage & secrets_of(services["git-sync"])
    for name, service in services.items():
        holds = "postgres-superuser" in secrets_of(service)
        assert holds is (name in ("postgres", "prepare", "backup")), name
        holds = "postgres-dbt" in secrets_of(service)
        assert holds is (name in ("prepare", "runner")), name


def test_every_variable_is_text(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            # Without quotes an empty one is nothing, which Compose takes from whoever starts it.
            assert isinstance(value, str), f"{name}: {variable}"


def test_no_secret_stands_in_the_environment(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for variable in service.get("environment", {}):
            wanted = variable.endswith(("_FILE", "_DIR", "PROXY_SECRETS"))
            secret = any(word in variable for word in ("PASSWORD", "SECRET", "TOKEN", "KEY"))
            assert wanted or not secret, f"{name}: {variable}"


def test_the_script_makes_every_secret_that_is_mounted_once(
    services: dict[str, Any], tmp_path: Path
) -> None:
    declared = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["secrets"]
    assert set(declared) == set().union(*map(secrets_of, services.values()))
    (tmp_path / "scripts").mkdir()
    script = shutil.copy2(CHECKOUT / "scripts" / "make-secrets", tmp_path / "scripts")
    status, said = said_of([str(script)])
    assert status == 0 and "Fill in secrets/identity-client-secret" in said
    made = {one.name: one.read_text() for one in (tmp_path / "secrets").iterdir()}
    assert set(declared) <= set(made)
    assert {one["file"] for one in declared.values()} == {f"./secrets/{one}" for one in declared}
    filled = [text for text in made.values() if text]
    assert len(set(filled)) == len(filled) and all(len(text) >= 43 for text in filled)
    assert not any(text.endswith("\n") for text in filled)
    assert made["mage-trigger-token"].isalnum()
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    said_of([str(script)])
    assert made == {one.name: one.read_text() for one in (tmp_path / "secrets").iterdir()}
