"""After all that the other files of this folder have done to it: what it keeps for itself."""

from __future__ import annotations

from pathlib import Path

from tests.canaries import places
from tests.harness.login import WithLogin


def test_no_secret_of_the_workspace_or_its_proxies_is_anywhere_else(with_login: WithLogin) -> None:
    live = with_login.workspace
    secrets = {one.name: one.read_text() for one in live.home.secrets.iterdir() if one.is_file()}
    assert {"cookie-people", "cookie-machines", "identity-client-secret"} <= secrets.keys()
    assert {"proxy-people", "proxy-machines", "runner-to-mage", "mage-jwt"} <= secrets.keys()
    # The development provider is told the secret of its one client.
    provider = {
        ("identity-client-secret", str(file))
        for file in Path(live.home.development_provider).rglob("*")
    }
    assert places(live, secrets, {}, provider) == []
