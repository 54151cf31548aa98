"""The login's programs as `scripts/start` runs them: the two proxies and, for `--with-login`, a
development identity provider that asks nobody for a password.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mage_dbt.errors import SettingError
from mage_dbt.home import Home
from mage_dbt.launcher import identity_provider, oauth2_proxy
from mage_dbt.launcher.programs import answers
from mage_dbt.launcher.progress import Progress
from mage_dbt.launcher.supervisor import Program
from mage_dbt.settings import Settings

DEVELOPMENT_GROUPS = {
    "LOGIN_VIEWER_GROUPS": "viewers",
    "LOGIN_ANALYST_GROUPS": "analysts",
    "LOGIN_OPERATOR_GROUPS": "operators",
    "LOGIN_OWNER_GROUPS": "owners",
}

HANDED_ON = ("IDENTITY_", "PEOPLE_", "MACHINES_", "GOOGLE_", "GITHUB_", "OAUTH2_PROXY_")
"""Prefixes of variables that a provider's file may read. See docs/login.md."""


def development_settings(settings: Settings) -> Settings:
    """The settings with the development login in place of any other."""
    address = f"http://127.0.0.1:{settings.login_people_port}"
    environ = settings.as_environment() | DEVELOPMENT_GROUPS
    environ |= {"LOGIN_REQUIRED": "true", "MAGE_PUBLIC_URL": address}
    environ.pop("LOGIN_PROVIDER", None)
    return Settings.load(environ, Path(os.devnull))


@dataclass(frozen=True)
class Login:
    """The login of one workspace, with the development provider or that of LOGIN_PROVIDER."""

    settings: Settings
    home: Home
    development: bool

    @classmethod
    def of(cls, settings: Settings, home: Home, development: bool) -> Login | None:
        """None where the workspace has no login, or something else starts the oauth2_proxy.

        Raises SettingError when the provider's client secret is missing.
        """
        if not development and settings.login_provider is None:
            return None
        if not development and not home.identity_client_secret.exists():
            raise SettingError(
                f"There is no {home.identity_client_secret}.",
                "Write the application's secret at the identity provider into it, without a "
                "newline at the end.",
            )
        return cls(settings, home, development)

    @property
    def ports(self) -> dict[str, int]:
        """The ports it needs, by their settings."""
        found = {
            "LOGIN_PEOPLE_PORT": self.settings.login_people_port,
            "LOGIN_MACHINES_PORT": self.settings.login_machines_port,
        }
        if self.development:
            found["LOGIN_DEVELOPMENT_PORT"] = self.settings.login_development_port
        return found

    def install(self, progress: Progress) -> None:
        """Builds what is missing. Raises MachineError without Go or node."""
        if self.development:
            identity_provider.ensure(self.home, progress)
        oauth2_proxy.ensure(self.home, progress)

    def provider(self) -> Program:
        """The development identity provider."""
        port = self.settings.login_development_port
        return Program(
            name="identity-provider",
            launch=identity_provider.launch(self.home, port, self.settings.mage_address),
            environment=oauth2_proxy.plain_environment(),
            probe=lambda: answers(f"{self._issuer}/.well-known/openid-configuration"),
        )

    def people(self) -> Program:
        """The people's proxy."""
        settings = self.settings
        environment = oauth2_proxy.people_environment(
            self.home,
            self.home.people_socket.parent,
            settings.login_people_port,
            settings.mage_address,
            {"PEOPLE_GROUPS": _groups(settings), **self._identity()},
        )
        if self.development:
            environment |= oauth2_proxy.PLAIN_HTTP
        program = oauth2_proxy.path(self.home)
        return Program(
            name="proxy-people",
            launch=oauth2_proxy.people_launch(program, settings.login_provider or "oidc"),
            environment=environment,
            probe=lambda: answers(f"http://127.0.0.1:{settings.login_people_port}/ping"),
        )

    def machines(self) -> Program:
        """The machines' proxy."""
        port = self.settings.login_machines_port
        identity = {"MACHINES_GROUPS": _groups(self.settings), **self._identity()}
        environment = oauth2_proxy.machines_environment(
            self.home, self.home.machines_socket.parent, port, identity
        )
        return Program(
            name="proxy-machines",
            launch=oauth2_proxy.machines_launch(oauth2_proxy.path(self.home)),
            environment=environment,
            probe=lambda: answers(f"http://127.0.0.1:{port}/ping"),
        )

    def lines(self) -> list[str]:
        """What the start prints last about the login."""
        if not self.development:
            return [f"People log in at {self.settings.mage_address}"]
        found = [
            f"Log in at {self.settings.mage_address} as one of these. The development identity "
            "provider asks for no password: whoever can open a connection on this machine can be "
            "any of them.",
        ]
        for email, groups in identity_provider.people(self.home):
            found.append(f"    {email:<20} {', '.join(groups) or 'in no group: stays outside'}")
        return found

    @property
    def _issuer(self) -> str:
        return f"http://127.0.0.1:{self.settings.login_development_port}"

    def _identity(self) -> Mapping[str, str]:
        if self.development:
            return {
                "IDENTITY_ISSUER": self._issuer,
                "IDENTITY_CLIENT": identity_provider.CLIENT,
                "MACHINES_AUDIENCE": identity_provider.AUDIENCE,
            }
        return {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}


def _groups(settings: Settings) -> str:
    """All groups with a role, as a YAML list: the proxy turns others away."""
    roles = (
        *(settings.login_viewer_groups, settings.login_analyst_groups),
        *(settings.login_operator_groups, settings.login_owner_groups),
    )
    return ", ".join(
        json.dumps(group) for group in sorted({name for role in roles for name in role})
    )
