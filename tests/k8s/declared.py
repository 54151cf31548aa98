"""The processes that docker-compose.yml and k8s/ declare, as plain processes of this machine.

What is started, with which arguments, environment, files and secrets is read from those files;
nothing of it is written here. One machine without containers differs from a pod in few things, and
`Place` is the one place that evens them out:

- paths: each process gets a root of its own, in which what it mounts stands where it is declared;
  declared paths in its arguments and environment begin with that root
- ports and names: each declared port is a free one of this machine, every host name is 127.0.0.1
- programs: what an image brings is what this machine has (Python environments, oauth2-proxy)
- users: as root each process is the user that is declared, with one right more where the Python is
  in a folder of root's own (to read and pass through any); else all are who runs the tests
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mage_dbt.settings import CHECKOUT
from tests.harness.waiting import SECONDS

GROUP = 10000

LOOPBACK = "127.0.0.1"

IMAGES = {"mage": "mage"} | dict.fromkeys(("runner", "prepare", "backup", "git-sync"), "runner")
"""Whose image is one of ours; git-sync's is not, but its stand-in needs a user's name, too."""


@dataclass(frozen=True)
class Declared:
    """One container: what it runs, and what it finds."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    user: int
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Where each volume is mounted, by the path."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Which secret each mounted file is, by the path."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Folders of the checkout, by the path at which they are mounted."""
    probe: tuple[str, ...] = ()


def compose(files: tuple[str, ...], variables: Mapping[str, str]) -> dict[str, Declared]:
    """The services of Compose files, later ones on top; `variables` are those of `.env`."""
    merged: dict[str, Any] = {}
    for name in files:
        text = _interpolated((CHECKOUT / name).read_text(), variables)
        merged = _on_top(merged, yaml.safe_load(text)["services"])
    return {name: _service(name, one) for name, one in merged.items()}


def kubernetes(built: str) -> dict[str, Declared]:
    """The containers of the workspace and its backup in what kustomize has built."""
    objects = [one for one in yaml.safe_load_all(built) if one]
    maps = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
    found = {}
    for one in objects:
        if one["kind"] not in ("Deployment", "CronJob"):
            continue
        spec = one["spec"] if one["kind"] == "Deployment" else one["spec"]["jobTemplate"]["spec"]
        pod = spec["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            found[container["name"]] = _container(container, volumes, maps)
    return found


def image_environment(name: str) -> dict[str, str]:
    """What the image of `mage` or `runner` sets, from its Dockerfile's ENV."""
    text = (CHECKOUT / "images" / f"{name}.Dockerfile").read_text().replace("\\\n", " ")
    found = re.findall(r"^ENV (.+)$", text, re.M)
    return dict(pair.split("=", 1) for line in found for pair in line.split())


@dataclass
class Place:
    """Where the declared processes run on this machine."""

    root: Path
    secrets: Path
    ports: Mapping[int, int]
    programs: Mapping[str, Path]
    """By the name of the container, or the first word of its command."""

    @property
    def apart(self) -> bool:
        """Whether each process gets the user it is declared with."""
        return os.geteuid() == 0 and shutil.which("setpriv") is not None

    def start(self, one: Declared, log: Path) -> subprocess.Popen[bytes]:
        """Starts it; its output goes to `log`."""
        self._mount(one)
        with log.open("ab") as file:
            return subprocess.Popen(
                [*self._become(one), *self.command(one, one.command)],
                env=self.environment(one),
                cwd=self.path(one, "/workspace"),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def probe(self, one: Declared) -> tuple[int, str]:
        """Runs the declared health check in the process's own surroundings."""
        done = subprocess.run(
            [*self._become(one), *self.command(one, one.probe)],
            env=self.environment(one),
            cwd=self.path(one, "/workspace"),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        return done.returncode, done.stdout + done.stderr

    def command(self, one: Declared, words: tuple[str, ...]) -> list[str]:
        first, *rest = (self.here(one, word) for word in words)
        if first.startswith("--"):  # the image's entry point comes before it
            return [str(self.programs[one.name]), first, *rest]
        return [str(self._program(one, first)), *rest]

    def environment(self, one: Declared) -> dict[str, str]:
        image = image_environment(IMAGES[one.name]) if one.name in IMAGES else {}
        declared = {
            name: self.here(one, value) for name, value in {**image, **one.environment}.items()
        }
        python = self.programs.get("mage" if one.name == "mage" else "python")
        path = f"{python.parent}:{os.defpath}" if python else os.defpath
        # A pod has every port for itself, so these two stand at their defaults there.
        ports = {"MAGE_PORT": str(self.ports[6789]), "RUNNER_PORT": str(self.ports[4182])}
        return {"HOME": str(self.path(one, "/workspace"))} | declared | ports | {"PATH": path}

    def here(self, one: Declared, text: str) -> str:
        """A declared word as it has to be on this machine."""
        places = ("/workspace", "/etc/oauth2-proxy", "/etc/git-secret", "/run/secrets")
        for place in places:
            text = re.sub(rf"(?<![\w/]){place}(?=/|$)", str(self.path(one, place)), text)
        text = re.sub(r"^postgres$", LOOPBACK, text) if text != one.command[0] else text
        text = text.replace("0.0.0.0:", f"{LOOPBACK}:")
        return re.sub(
            r"^(\d{4})$|(?<=127\.0\.0\.1:)(\d{4})\b",
            lambda match: str(self.ports.get(int(match[0]), match[0])),
            text,
        )

    def path(self, one: Declared, path: str) -> Path:
        return self.root / one.name / path.lstrip("/")

    def volume(self, name: str) -> Path:
        """A volume as the images begin it: the group's, and setgid."""
        folder = self.root / "volumes" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            if self.apart:
                os.chown(folder, -1, GROUP)
            folder.chmod(0o2770)
        return folder

    def _mount(self, one: Declared) -> None:
        base = self.path(one, "/workspace")
        if not base.exists():
            base.mkdir(parents=True)
            self._give(one, base)
        # Outer ones first, so that a volume can hold the place at which another is mounted.
        for path, volume in sorted(one.volumes.items()):
            target = self.path(one, path)
            if path == "/workspace" or target.is_symlink():
                continue
            if target.is_dir():
                target.rmdir()
            self._folder(one, target.parent)
            target.symlink_to(self.volume(volume))
        for path, source in one.files.items():
            target = self.path(one, path)
            self._folder(one, target.parent)
            if not target.exists():
                shutil.copytree(source, target)
        for path, secret in one.secrets.items():
            target = self.path(one, path)
            self._folder(one, target.parent)
            shutil.copyfile(self.secrets / secret, target)
            target.chmod(0o444)

    def _folder(self, one: Declared, folder: Path) -> None:
        if not folder.exists():
            self._folder(one, folder.parent)
            folder.mkdir()
            self._give(one, folder)

    def _give(self, one: Declared, path: Path) -> None:
        if self.apart:
            os.chown(path, one.user, GROUP)

    def _become(self, one: Declared) -> list[str]:
        if not self.apart:
            return []
        become = ["setpriv", f"--reuid={one.user}", f"--regid={GROUP}", "--clear-groups"]
        if not all(self._reachable(program) for program in self.programs.values()):
            become.append("--securebits=+no_setuid_fixup")
            sets = ("inh-caps", "ambient-caps", "bounding-set")
            become += [f"--{name}=-all,+dac_read_search" for name in sets]
        return become

    def _program(self, one: Declared, name: str) -> Path:
        if name == "python":
            return self.programs["mage" if one.name == "mage" else "python"]
        return Path(shutil.which(name) or name)

    def _reachable(self, program: Path) -> bool:
        tried = subprocess.run(
            ["test", "-x", str(program)], user=65533, group=GROUP, extra_groups=[], cwd="/"
        )
        return tried.returncode == 0


def _service(name: str, one: Mapping[str, Any]) -> Declared:
    volumes, files = {}, {}
    for mount in one.get("volumes", []):
        source, path = mount.split(":")[:2]
        if source.startswith("./"):
            files[path] = CHECKOUT / source
        else:
            volumes[path] = source
    secrets = {}
    for secret in one.get("secrets", []):
        named = secret if isinstance(secret, dict) else {"source": secret}
        secrets[named.get("target", f"/run/secrets/{named['source']}")] = named["source"]
    test = one.get("healthcheck", {}).get("test", [])
    return Declared(
        name=name,
        command=tuple(one.get("command", ())),
        environment=dict(one.get("environment", {})),
        user=int(one["user"].split(":")[0]),
        volumes=volumes,
        secrets=secrets,
        files=files,
        probe=tuple(test[1:]) if test and test[0] == "CMD" else (),
    )


def _container(
    one: Mapping[str, Any], volumes: Mapping[str, Any], maps: Mapping[str, Mapping[str, str]]
) -> Declared:
    environment: dict[str, str] = {}
    for source in one.get("envFrom", []):
        environment |= maps[source["configMapRef"]["name"]]
    for variable in one.get("env", []):
        if "value" in variable:
            environment[variable["name"]] = variable["value"]
        else:
            key = variable["valueFrom"]["configMapKeyRef"]
            environment[variable["name"]] = maps[key["name"]][key["key"]]
    mounted, secrets, files = {}, {}, {}
    for mount in one["volumeMounts"]:
        volume, path = volumes[mount["name"]], mount["mountPath"]
        if "secret" in volume:
            for item in volume["secret"]["items"]:
                secrets[f"{path}/{item['path']}"] = item["key"]
        elif "configMap" in volume:
            files[path] = _written(maps[volume["configMap"]["name"]], mount["name"])
        elif path != "/tmp":
            mounted[path] = mount["name"]
    probe = one.get("livenessProbe", {})
    return Declared(
        name=one["name"],
        command=tuple(one["args"]),
        environment=environment,
        user=one["securityContext"]["runAsUser"],
        volumes=mounted,
        secrets=secrets,
        files=files,
        probe=tuple(probe.get("exec", {}).get("command", ())),
    )


CONFIG_MAPS: dict[str, Path] = {}
"""Where the text of a ConfigMap is written down; the test sets the folder under ""."""


def _written(texts: Mapping[str, str], name: str) -> Path:
    folder = CONFIG_MAPS[""] / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text)
    return folder


def _interpolated(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, mark, rest = match[1], match[2], match[3] or ""
        given = variables.get(name, "")
        if not given and mark == ":?":
            raise AssertionError(f"{name} has no value: {rest}")
        return given or (rest if mark == ":-" else "")

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


def _on_top(below: Any, above: Any) -> Any:
    """Compose's merging: mappings by key, lists added, but a command replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        merged = dict(below)
        for key, value in above.items():
            replaced = key in ("command", "test") or key not in below
            merged[key] = value if replaced else _on_top(below[key], value)
        return merged
    return [*below, *above] if isinstance(below, list) and isinstance(above, list) else above
