"""What the two proxies let through, and what arrives behind them."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.base.setting_values import PROVIDERS
from mage_dbt.home import Home
from mage_dbt.launcher import oauth2_proxy
from tests.groups_header import groups_header
from tests.harness import environments
from tests.harness.login import STRANGER, Login, running, try_to_sign_in, wait_for_answer
from tests.harness.ports import free_ports
from tests.harness.waiting import SECONDS

PEOPLE_FILES = sorted((oauth2_proxy.CONFIG / "people").glob("*.yaml"))


@pytest.fixture
def google_tokens() -> Iterator[str]:
    """Where a service account gets its token."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"access_token": "t", "token_type": "Bearer", "expires_in": 3600}')

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: pytest shows what a test prints."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join()


def private_key() -> str:
    """An RSA key as PEM."""
    code = (
        "const { privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });"
        "console.log(privateKey.export({ type: 'pkcs8', format: 'pem' }))"
    )
    return subprocess.run(["node", "-e", code], check=True, capture_output=True, text=True).stdout


def test_a_person_arrives_with_name_and_groups_and_without_cookie(doors_open: Login) -> None:
    with doors_open.sign_in("ana@example.com") as client:
        seen = client.get("/pipelines?a=b").json()
    headers = seen["headers"]
    assert (seen["upstream"], seen["path"]) == ("mage", "/pipelines?a=b")
    secret = doors_open.home.proxy_people_secret.read_text()
    assert ["x-workspace-proxy", secret] in headers
    assert ["x-forwarded-email", "ana@example.com"] in headers
    assert ["x-forwarded-groups", groups_header("analysts", secret=secret)] in headers
    assert ["x-forwarded-preferred-username", "ana"] in headers
    assert not [one for one in headers if one[0] in ("cookie", "authorization")]


def test_the_runner_has_a_path_of_its_own(doors_open: Login) -> None:
    with doors_open.sign_in("ana@example.com") as client:
        seen = client.post("/runner/runs", json={"a": 1}).json()
    assert (seen["upstream"], seen["path"], seen["method"]) == ("runner", "/runner/runs", "POST")


def test_who_is_in_no_group_does_not_come_in(doors_open: Login) -> None:
    with doors_open.client() as client:
        answer = try_to_sign_in(client, "nora@example.com")
        assert answer.status_code == 403
        assert client.get("/api/pipelines").status_code == 401


def test_a_machine_arrives_with_its_name_and_without_its_token(doors_open: Login) -> None:
    token = doors_open.token("ci-bot", doors_open.home.development_bot_secret)
    answer = httpx.get(
        f"{doors_open.machines}/status",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=SECONDS,
    )
    seen = answer.json()
    assert seen["path"] == "/status"
    secret = doors_open.home.proxy_machines_secret.read_text()
    assert ["x-workspace-proxy", secret] in seen["headers"]
    assert ["x-forwarded-email", "ci-bot"] in seen["headers"]
    assert ["x-forwarded-groups", groups_header("operators", secret=secret)] in seen["headers"]
    assert not [one for one in seen["headers"] if one[0] in ("cookie", "authorization")]


def test_a_machine_of_no_group_is_refused(doors_open: Login) -> None:
    secret = doors_open.home.root.parent / "stranger-secret"
    token = doors_open.token(STRANGER, secret)
    answer = httpx.get(
        f"{doors_open.machines}/status",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=SECONDS,
    )
    assert answer.status_code == 403
    assert "upstream" not in answer.text


@pytest.mark.parametrize("file", PEOPLE_FILES, ids=lambda path: path.stem)
def test_every_provider_s_file_starts_for_real(
    doors_open: Login, proxy_program: Path, google_tokens: str, tmp_path: Path, file: Path
) -> None:
    home = Home(tmp_path / "home")
    environments.share(home)
    for path in (home.proxy_people_secret, home.identity_client_secret):
        read_or_make(path)
    # Google's file asks for a token before it starts, with a key like those it gives out.
    account = {
        "type": "service_account",
        "client_email": "workspace@example.com",
        "private_key": private_key(),
        "token_uri": google_tokens,
    }
    (home.secrets / "google-service-account.json").write_text(json.dumps(account))
    (port,) = free_ports(1)
    environ = oauth2_proxy.people_environment(
        home,
        tmp_path / "door",
        port,
        "https://mage.example.com",
        {
            "IDENTITY_ISSUER": doors_open.provider,
            "IDENTITY_CLIENT": "workspace",
            "PEOPLE_GROUPS": "analysts, owners",
            "GITHUB_ORGANISATION": "example",
            "GOOGLE_ADMIN_EMAIL": "admin@example.com",
        },
    )
    log = tmp_path / "proxy.log"
    launch = oauth2_proxy.people_launch(proxy_program, file.stem)
    with running(launch, environ, log) as process:
        wait_for_answer(f"http://127.0.0.1:{port}/ping", process, log)
        answer = httpx.get(f"http://127.0.0.1:{port}/pipelines", trust_env=False, timeout=SECONDS)
    assert answer.status_code == 302
    cookies = answer.headers.get_list("set-cookie")
    login = [one for one in cookies if re.match(r"__Host-workspace_\S+_csrf=", one)]
    assert login, cookies
    assert all("Secure" in one and "HttpOnly" in one and "SameSite=Lax" in one for one in login)
    target = httpx.URL(answer.headers["location"])
    assert target.params["redirect_uri"] == "https://mage.example.com/oauth2/callback"
    assert target.params["code_challenge_method"] == "S256"
    if file.stem not in ("google", "github"):
        assert target.params["nonce"]


def test_the_files_differ_in_their_provider_alone() -> None:
    assert [path.stem for path in PEOPLE_FILES] == sorted(PROVIDERS)
    doors_of = []
    for path in PEOPLE_FILES:
        text = path.read_text()
        doors_of.append(text[text.index("\nserver:") : text.index("\nproviders:")])
    assert len(set(doors_of)) == 1


@pytest.mark.parametrize("variable", ["PEOPLE_GROUPS", "IDENTITY_ISSUER", "IDENTITY_CLIENT"])
def test_a_missing_variable_lets_nobody_in(
    doors_open: Login, proxy_program: Path, tmp_path: Path, variable: str
) -> None:
    home = doors_open.home
    (port,) = free_ports(1)
    identity = {
        "IDENTITY_ISSUER": doors_open.provider,
        "IDENTITY_CLIENT": "workspace",
        "PEOPLE_GROUPS": "analysts",
    }
    del identity[variable]
    # The provider knows one address only, so the login is taken over by this proxy.
    environ = oauth2_proxy.people_environment(home, tmp_path, port, doors_open.people, identity)
    log = tmp_path / "proxy.log"
    with running(
        oauth2_proxy.people_launch(proxy_program), environ | oauth2_proxy.PLAIN_HTTP, log
    ) as process:
        if variable != "PEOPLE_GROUPS":
            assert process.wait(SECONDS) != 0
            return
        address = f"http://127.0.0.1:{port}"
        wait_for_answer(f"{address}/ping", process, log)
        with httpx.Client(base_url=address, trust_env=False, timeout=SECONDS) as client:
            page = client.get("/", follow_redirects=True)
            step = client.post(page.url, data={"email": "ana@example.com"})
            while "/oauth2/callback" not in step.headers["location"]:
                step = client.get(httpx.URL(str(step.url)).join(step.headers["location"]))
            back = httpx.URL(step.headers["location"]).copy_with(port=port)
            assert client.get(back).status_code == 403


def test_no_file_opens_a_path_without_a_login() -> None:
    for path in oauth2_proxy.CONFIG.rglob("*.cfg"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert not [line for line in lines if line.startswith(("skip_auth", "trusted_ip"))]
        assert "reverse_proxy = false" in lines
        assert 'ready_path = ""' in lines
