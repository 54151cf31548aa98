"""The two oauth2-proxies: how each is started, and what it finds in its environment.

The configuration files are those of `oauth2-proxy/`, the very ones that containers mount.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT
from mage_dbt.workspace.keeper import Order
from mage_dbt.workspace.secret_files import read_or_make

CONFIG = CHECKOUT / "oauth2-proxy"

FROM_OUTSIDE = ("PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY")

PLAIN_HTTP = {
    # A cookie named __Host- or marked Secure is for HTTPS; on loopback there is none.
    "OAUTH2_PROXY_COOKIE_NAME": "workspace",
    "OAUTH2_PROXY_COOKIE_SECURE": "false",
}
"""For one machine's loopback only."""


def people_order(program: Path, provider: str = "oidc") -> Order:
    return _order(program, CONFIG / "people.cfg", CONFIG / "people" / f"{provider}.yaml")


def machines_order(program: Path) -> Order:
    return _order(program, CONFIG / "machines.cfg", CONFIG / "machines.yaml")


def people_environment(
    home: Home, door: Path, port: int, address: str, identity: Mapping[str, str]
) -> dict[str, str]:
    """`door` is the folder of the sockets behind it, `address` what people type, `identity` the
    provider's variables."""
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
    read_or_make(home.machines_cookie_secret)
    return {
        **plain_environment(),
        "MACHINES_LISTEN": f"127.0.0.1:{port}",
        "MACHINES_DOOR": str(door),
        "PROXY_SECRETS": str(home.secrets),
        "OAUTH2_PROXY_COOKIE_SECRET_FILE": str(home.machines_cookie_secret),
        **identity,
    }


def _order(program: Path, config: Path, alpha: Path) -> Order:
    command = [str(program), "--config", str(config), "--alpha-config", str(alpha)]
    return Order(command, str(CONFIG), grace=2.0)


def plain_environment() -> dict[str, str]:
    """What any of these programs may find: no setting of the workspace, no secret."""
    return {name: os.environ[name] for name in FROM_OUTSIDE if name in os.environ}
