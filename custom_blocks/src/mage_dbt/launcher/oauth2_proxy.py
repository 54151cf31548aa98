"""oauth2-proxy: built from its Go module once, and launched twice, for people and for machines.

The configuration files are those of `oauth2-proxy/`, which the containers mount too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.launcher.environments import ensure_tool
from mage_dbt.launcher.progress import Progress
from mage_dbt.launcher.subreaper import Launch
from mage_dbt.settings import CHECKOUT

NAME = "oauth2-proxy"
MODULE = "github.com/oauth2-proxy/oauth2-proxy/v7"

VERSION = "v7.15.6"
"""Pinned: the format of the configuration files changes between releases."""

GO = "1.26"
"""What this version's go.mod asks for."""

CONFIG = CHECKOUT / "oauth2-proxy"

INHERITED = ("PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY")

PLAIN_HTTP = {
    # Browsers keep a cookie named __Host- or marked Secure over HTTPS alone.
    "OAUTH2_PROXY_COOKIE_NAME": "workspace",
    "OAUTH2_PROXY_COOKIE_SECURE": "false",
}
"""For the loopback of one machine only."""


def ensure(home: Home, progress: Progress) -> Path:
    """The program's path; built when it is missing, which takes one core about two minutes.

    Go checks the module and all that it needs against its public checksum database.
    Raises MachineError when there is no Go, or when Go cannot build it.
    """
    return ensure_tool(home, NAME, [VERSION], _build, progress) / NAME


def path(home: Home) -> Path:
    """Where `ensure` put it."""
    return (home.environments / NAME).resolve() / NAME


def people_launch(program: Path, provider: str = "oidc") -> Launch:
    """The people's proxy, with the configuration of one identity provider."""
    return _launch(program, CONFIG / "people.cfg", CONFIG / "people" / f"{provider}.yaml")


def machines_launch(program: Path) -> Launch:
    """The machines' proxy."""
    return _launch(program, CONFIG / "machines.cfg", CONFIG / "machines.yaml")


def people_environment(
    home: Home, door: Path, port: int, address: str, identity: Mapping[str, str]
) -> dict[str, str]:
    """`door` is the folder of the runner's sockets, `address` what people type in a browser,
    `identity` the provider's variables."""
    read_or_make(home.people_cookie_secret)
    return {
        **plain_environment(),
        "PEOPLE_LISTEN": f"127.0.0.1:{port}",
        "PEOPLE_DOOR": str(door),
        "PROXY_SECRETS": str(home.secrets),
        "OAUTH2_PROXY_COOKIE_SECRET_FILE": str(home.people_cookie_secret),
        "OAUTH2_PROXY_REDIRECT_URL": f"{address}/oauth2/callback",
        **identity,
    }


def machines_environment(
    home: Home, door: Path, port: int, identity: Mapping[str, str]
) -> dict[str, str]:
    """As `people_environment`; machines send a token with each call, and have no session."""
    read_or_make(home.machines_cookie_secret)
    return {
        **plain_environment(),
        "MACHINES_LISTEN": f"127.0.0.1:{port}",
        "MACHINES_DOOR": str(door),
        "PROXY_SECRETS": str(home.secrets),
        "OAUTH2_PROXY_COOKIE_SECRET_FILE": str(home.machines_cookie_secret),
        **identity,
    }


def plain_environment() -> dict[str, str]:
    """What the programs of the login inherit: no setting of the workspace, no secret."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def _launch(program: Path, config: Path, alpha: Path) -> Launch:
    command = [str(program), "--config", str(config), "--alpha-config", str(alpha)]
    return Launch(command, str(CONFIG), grace=2.0)


def _build(folder: Path, run: Callable[[list[str]], str]) -> None:
    go = shutil.which("go")
    if go is None:
        raise MachineError(
            f"oauth2-proxy is built from its Go module, and there is no Go on the PATH ({GO} or "
            "newer).",
            "Install it from https://go.dev/dl or the system's package manager.",
        )
    stamp = f"-s -w -X {MODULE}/pkg/version.VERSION={VERSION}"
    environ = [f"GOBIN={folder}", "CGO_ENABLED=0"]
    build = [go, "install", "-trimpath", "-ldflags", stamp, f"{MODULE}@{VERSION}"]
    run(["env", *environ, *build])
