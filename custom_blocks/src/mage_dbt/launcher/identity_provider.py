"""The development identity provider: installed with npm, run with node, on loopback only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.launcher.environments import ensure_tool
from mage_dbt.launcher.progress import Progress
from mage_dbt.launcher.subreaper import Launch
from mage_dbt.settings import CHECKOUT

SOURCE = CHECKOUT / "oauth2-proxy" / "development-provider"
FILES = ("package.json", "package-lock.json", "provider.mjs")

CLIENT = "workspace"
"""The workspace's client id there."""

AUDIENCE = "workspace-runner"
"""The audience of a machine's JWT."""

BOT = "ci-bot"
"""A program that may call the runner."""

BOT_GROUPS = ("operators",)


@dataclass(frozen=True)
class Machine:
    """A client that gets JWTs by client_credentials; the secret is in a file."""

    id: str
    secret: Path
    groups: tuple[str, ...]


def ensure(home: Home, progress: Progress) -> Path:
    """Installs it when it is missing; returns its folder.

    Raises MachineError without node or npm.
    """
    text = [(SOURCE / name).read_text() for name in FILES]
    return ensure_tool(home, "identity-provider", text, _install, progress)


def launch(
    home: Home, port: int, people_address: str, machines: tuple[Machine, ...] = ()
) -> Launch:
    """Writes the provider's configuration, and returns how to launch it.

    `people_address` is the people's proxy's. `machines` are clients beside our own bot.
    """
    folder = home.development_provider
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    people = folder / "people.json"
    if not people.exists():
        people.write_text((SOURCE / "people.json").read_text())
    ours = Machine(BOT, home.development_bot_secret, BOT_GROUPS)
    for path in (home.identity_client_secret, *(machine.secret for machine in (ours, *machines))):
        read_or_make(path)
    settings = {
        "port": port,
        "people": str(people),
        "keys": str(folder / "keys.json"),
        "application": {
            "id": CLIENT,
            "secretFile": str(home.identity_client_secret),
            "redirect": f"{people_address}/oauth2/callback",
        },
        "machines": [
            {"id": client.id, "secretFile": str(client.secret), "groups": list(client.groups)}
            for client in (ours, *machines)
        ],
        "audience": AUDIENCE,
    }
    file = folder / "settings.json"
    file.write_text(json.dumps(settings, indent=1))
    script = home.environments / "identity-provider" / "provider.mjs"
    return Launch([_found("node"), str(script.resolve()), str(file)], str(folder), grace=2.0)


def people(home: Home) -> list[tuple[str, tuple[str, ...]]]:
    """The addresses that can sign in there, with the groups of each."""
    found = json.loads((home.development_provider / "people.json").read_text())
    return [(person["email"], tuple(person["groups"])) for person in found]


def _install(folder: Path, run: Callable[[list[str]], str]) -> None:
    _found("node")
    npm = _found("npm")
    for name in FILES:
        shutil.copyfile(SOURCE / name, folder / name)
    run([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise MachineError(
            f"The development identity provider needs {program}, and there is none on the PATH.",
            "Install Node.js 20 or newer with npm, from https://nodejs.org or the system's "
            "package manager.",
        )
    return path
