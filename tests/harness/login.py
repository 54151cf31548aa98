"""The real proxies and a real identity provider, in front of servers that say what they see."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.home import Home
from mage_dbt.launcher import identity_provider, oauth2_proxy
from mage_dbt.launcher.identity_provider import Machine
from mage_dbt.launcher.subreaper import Launch
from tests.harness import environments
from tests.harness.base import Harness
from tests.harness.ports import free_ports
from tests.harness.waiting import SECONDS, wait_until
from tests.harness.workspace import Workspace
from tests.login.echo import echo

ALL_GROUPS = "viewers, analysts, operators, owners"


@dataclass
class Login(Harness):
    """Provider, people's proxy and machines' proxy on ports of loopback."""

    home: Home
    people_port: int
    machines_port: int
    provider_port: int
    logs: dict[str, Path] = field(default_factory=dict)

    @property
    def people(self) -> str:
        return f"http://127.0.0.1:{self.people_port}"

    @property
    def machines(self) -> str:
        return f"http://127.0.0.1:{self.machines_port}"

    @property
    def provider(self) -> str:
        return f"http://127.0.0.1:{self.provider_port}"

    def client(self) -> httpx.Client:
        """A browser without a login."""
        return httpx.Client(base_url=self.people, trust_env=False, timeout=SECONDS)

    @contextmanager
    def sign_in(self, email: str) -> Iterator[httpx.Client]:
        """A browser in which `email` has signed in."""
        with self.client() as client:
            answer = try_to_sign_in(client, email, "/oauth2/start?rd=/oauth2/userinfo")
            assert answer.status_code == 200, answer.text
            assert answer.json()["email"] == email
            yield client

    def token(self, client: str, secret: Path) -> str:
        """A JWT for a machine."""
        answer = httpx.post(
            f"{self.provider}/token",
            data={"grant_type": "client_credentials"},
            auth=(client, secret.read_text()),
            trust_env=False,
            timeout=SECONDS,
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def set_people(self, people: list[dict[str, Any]]) -> None:
        """Changes who the provider knows; it looks at every login and refresh."""
        (self.home.development_provider / "people.json").write_text(json.dumps(people))

    def log(self, name: str) -> str:
        """What a proxy or the provider has logged so far."""
        return self.logs[name].read_text(errors="replace")


def try_to_sign_in(client: httpx.Client, email: str, path: str = "/") -> httpx.Response:
    """Goes through the provider's page as `email`; the last answer."""
    page = client.get(path, follow_redirects=True)
    assert "Who are you?" in page.text, f"{page.url}: {page.status_code} {page.text[:300]}"
    return client.post(page.url, data={"email": email}, follow_redirects=True)


@contextmanager
def running(
    launch: Launch, environ: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            launch.command,
            cwd=launch.directory,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(SECONDS)


def wait_for_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    def probe() -> bool | str:
        assert process.poll() is None, f"it ended:\n{log.read_text()[-3000:]}"
        try:
            return httpx.get(url, trust_env=False, timeout=SECONDS).status_code == 200 or "not 200"
        except httpx.HTTPError as error:
            return str(error)

    wait_until(f"{url} to answer", probe)


@contextmanager
def started(
    folder: Path, proxy: Path, machines: tuple[Machine, ...] = (), **people_environ: str
) -> Iterator[Login]:
    """All of it in `folder`, on free ports, before servers that answer with what they saw."""
    home = Home(folder / "home")
    environments.share(home)
    for path in (home.proxy_people_secret, home.proxy_machines_secret):
        read_or_make(path)
    people_port, machines_port, provider_port = free_ports(3)
    found = Login(home, people_port, machines_port, provider_port)
    people_door, machines_door = folder / "p", folder / "m"
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    identity = {
        "IDENTITY_ISSUER": found.provider,
        "IDENTITY_CLIENT": identity_provider.CLIENT,
        "PEOPLE_GROUPS": ALL_GROUPS,
        "MACHINES_AUDIENCE": identity_provider.AUDIENCE,
        "MACHINES_GROUPS": "operators",
    }
    with ExitStack() as stack:
        for socket in (people_door / "mage.sock", people_door / "runner.sock"):
            stack.enter_context(echo(socket))
        stack.enter_context(echo(machines_door / "runner.sock"))

        def start(name: str, launch: Launch, environ: Mapping[str, str], url: str) -> None:
            log = found.logs[name] = folder / f"{name}.log"
            wait_for_answer(url, stack.enter_context(running(launch, environ, log)), log)

        launch = identity_provider.launch(home, provider_port, found.people, machines)
        start("provider", launch, plain, f"{found.provider}/.well-known/openid-configuration")
        environ = oauth2_proxy.people_environment(
            home, people_door, people_port, found.people, identity
        )
        environ |= oauth2_proxy.PLAIN_HTTP | people_environ
        start("people", oauth2_proxy.people_launch(proxy), environ, f"{found.people}/ping")
        environ = oauth2_proxy.machines_environment(home, machines_door, machines_port, identity)
        start("machines", oauth2_proxy.machines_launch(proxy), environ, f"{found.machines}/ping")
        yield found


STRANGER = "stranger-bot"


def stranger(folder: Path) -> Machine:
    """A client of the same provider that is in no group of ours."""
    return Machine(STRANGER, folder / "stranger-secret", ("somebody-elses",))


@dataclass(frozen=True)
class WithLogin:
    """A whole workspace, by `scripts/start --with-login`, and its doors."""

    workspace: Workspace
    login: Login


@contextmanager
def whole_workspace(folder: Path) -> Iterator[WithLogin]:
    """Started on the project `steps`; its first build is over."""
    people, machines, provider = free_ports(3)
    workspace = Workspace.on_project(
        folder,
        "steps",
        LOGIN_PEOPLE_PORT=str(people),
        LOGIN_MACHINES_PORT=str(machines),
        LOGIN_DEVELOPMENT_PORT=str(provider),
    )
    workspace.start("--with-login")
    try:
        workspace.wait_for_output("Ctrl-C stops everything")
        yield WithLogin(workspace, Login(workspace.home, people, machines, provider))
    finally:
        workspace.stop()
