"""What kustomize builds is valid, restricted, and promises what its comments say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mage_dbt.settings import CHECKOUT
from tests.conftest import not_run
from tests.harness.environments import validator
from tests.k8s import tools
from tests.k8s.tools import said_of

pytestmark = pytest.mark.timeout(900)  # checkov on a busy machine

OVERLAYS = ("example", "production", "kubernetes-executor")

KUBERNETES = "1.35"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what kustomize makes of each overlay."""
    if shutil.which("go") is None:
        not_run("no Go here; kustomize is built with it")
    folder = tmp_path_factory.mktemp("built")
    for name in OVERLAYS:
        status, said = said_of([str(tools.kustomize()), "build", f"k8s/overlays/{name}"])
        assert status == 0, said
        (folder / f"{name}.yaml").write_text(said)
    return folder


@pytest.fixture(params=OVERLAYS)
def built(request: pytest.FixtureRequest, everything: Path) -> Path:
    return everything / f"{request.param}.yaml"


def objects(built: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(built.read_text()) if one]


def pods(built: Path) -> dict[str, dict[str, Any]]:
    """The specification of each pod, by what makes it."""
    found = {}
    for one in objects(built):
        spec = one.get("spec", {})
        if one["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            found[f"{one['kind']} {one['metadata']['name']}"] = spec["template"]["spec"]
    return found


def test_the_objects_are_what_kubernetes_schemas_say(built: Path) -> None:
    command = [validator("kubernetes-validate"), "--strict", "-k", KUBERNETES, str(built)]
    status, said = said_of(command)
    assert status == 0 and "passed for resource deployment/workspace" in said, said


def test_checkov_finds_nothing(everything: Path) -> None:
    options = ["--framework", "kubernetes", "--quiet", "--compact", "--skip-download"]
    status, said = said_of([validator("checkov"), "--directory", str(everything), *options])
    assert status == 0 and "Failed checks: 0" in said, said


def test_every_container_is_restricted(built: Path) -> None:
    for name, pod in pods(built).items():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] and context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        for one in [*pod.get("initContainers", []), *pod["containers"]]:
            closed = one["securityContext"]
            assert closed["allowPrivilegeEscalation"] is False, one["name"]
            assert closed["readOnlyRootFilesystem"] is True, one["name"]
            assert closed["capabilities"] == {"drop": ["ALL"]}, one["name"]
            assert one["resources"]["requests"] and one["resources"]["limits"]["memory"]


def test_mage_mounts_neither_the_runners_secrets_nor_the_proxies_doors(built: Path) -> None:
    pod = pods(built)["Deployment workspace"]
    mounts = {
        one["name"]: {mount["name"] for mount in one["volumeMounts"]}
        for one in [*pod["initContainers"], *pod["containers"]]
    }
    assert not mounts["mage"] & {"runner", "runner-secrets", "door-people", "door-machines"}
    assert not mounts["mage"] & {"people-secrets", "machines-secrets", "git-secrets"}
    assert "door-machines" not in mounts["people"] and "door-people" not in mounts["machines"]
    users = [one["securityContext"]["runAsUser"] for one in pod["containers"]]
    assert len(set(users)) == 2


def test_the_secret_items_are_those_that_compose_mounts(built: Path) -> None:
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
    pod = pods(built)["Deployment workspace"]
    for name in ("prepare", "runner", "mage", "people", "machines"):
        volume = next(one for one in pod["volumes"] if one["name"] == f"{name}-secrets")
        keys = {item["key"] for item in volume["secret"]["items"]}
        assert keys == {one["source"] for one in compose[name]["secrets"]}, name


def test_sidecars_are_native_and_drains_are_not_blocked(built: Path) -> None:
    pod = pods(built)["Deployment workspace"]
    always = [one["name"] for one in pod["initContainers"] if one.get("restartPolicy") == "Always"]
    assert always == ["git-sync", "people", "machines"]
    budget = next(one for one in objects(built) if one["kind"] == "PodDisruptionBudget")
    assert budget["spec"].get("maxUnavailable") == 1 and "minAvailable" not in budget["spec"]
    denied = next(one for one in objects(built) if one["metadata"]["name"] == "default-deny")
    assert denied["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_arguments_of_git_sync_and_the_proxies_are_composes(built: Path) -> None:
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
    pod = pods(built)["Deployment workspace"]
    here = {one["name"]: one for one in [*pod["initContainers"], *pod["containers"]]}
    assert set(here["git-sync"]["args"]) < set(compose["git-sync"]["command"])
    for name in ("prepare", "runner", "mage"):
        assert here[name]["args"] == compose[name]["command"]
    for name in ("git-sync", "people", "machines"):
        image = compose[name]["image"].removesuffix("-alpine")
        assert here[name]["image"] == image


def test_rights_in_the_cluster_are_asked_for_by_the_executor_alone(built: Path) -> None:
    kinds = {one["kind"] for one in objects(built)}
    assert ("Role" in kinds) is (built.stem == "kubernetes-executor")
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
