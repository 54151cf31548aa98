"""Attacks on the machines' door, and around both doors."""

from __future__ import annotations

import json
import socket
import time

import httpx

from mage_dbt.launcher import identity_provider
from tests.harness.waiting import SECONDS
from tests.login import tokens, wire
from tests.login.attack import Target, attack, one_of
from tests.login.attacks_people import FORGED, UPGRADE


def _made(target: Target, how: str = "real key", algorithm: str = "RS256", **more: object) -> str:
    said = tokens.claims(target.real.provider, identity_provider.AUDIENCE, **more)
    return tokens.make(target.real.home.development_provider / "keys.json", said, how, algorithm)


def _refused(target: Target, *made: str) -> str:
    right = _made(target)
    assert wire.statuses(target.machines(right)) == [200]  # so it is the change that is refused
    answers = [target.machines(one) for one in made]
    assert not [one for one in answers if b"live" in wire.body(one)]
    return one_of(map(target.told, answers), "403")


@attack("machines", "no token, at every address of the API")
def _nothing(target: Target) -> str:
    addresses = (
        "/",
        "/v1/status",
        "/v1/runs",
        "/openapi.json",
        "/metrics",
        "/ready",
        "/oauth2/auth",
    )
    return one_of([target.told(target.machines("", one)) for one in addresses], "401")


@attack("machines", "a JWT that has expired; one that is not valid yet")
def _expired(target: Target) -> str:
    now = int(time.time())
    return _refused(target, _made(target, exp=now - 60), _made(target, nbf=now + 3600))


@attack("machines", "a JWT of another issuer; of ours in name, signed with another key")
def _foreign(target: Target) -> str:
    return _refused(
        target, _made(target, iss="https://evil.example"), _made(target, how="another key")
    )


@attack("machines", "a JWT for another audience; a person's own ID token")
def _audience(target: Target) -> str:
    person = _made(target, aud=identity_provider.CLIENT, sub="otto@example.com", groups=["owners"])
    return _refused(target, _made(target, aud="somebody-else"), _made(target, aud=[]), person)


@attack("machines", "`alg: none`, in three spellings; the public key used as an HS256 secret")
def _algorithms(target: Target) -> str:
    return _refused(
        target,
        *(_made(target, how="nothing", algorithm=one) for one in ("none", "None", "NONE")),
        _made(target, how="public key as a secret", algorithm="HS256"),
    )


@attack("machines", "a JWT signed with a key that it brings along (`jwk`)")
def _own_key(target: Target) -> str:
    return _refused(target, _made(target, how="own key in the header"))


@attack("machines", "a JWT changed after it was signed; cut short")
def _changed(target: Target) -> str:
    head, said, signature = _made(target, groups=["viewers"]).split(".")
    other = _made(target, groups=["owners"]).split(".")[1]
    return _refused(
        target, f"{head}.{other}.{signature}", f"{head}.{said}.{signature[:-8]}", f"{head}.{said}."
    )


@attack(
    "machines",
    "a JWT of the provider without the group; of a person without the group; with no groups",
)
def _group(target: Target) -> str:
    return _refused(
        target,
        _made(target, groups=["somebody-elses"]),
        _made(target, sub="nora@example.com", groups=[]),
        _made(target, groups=None),
    )


@attack("machines", "a right JWT in the address, in a cookie, under another header")
def _elsewhere(target: Target) -> str:
    token = _made(target)
    answers = [
        target.machines("", f"/v1/status?access_token={token}"),
        target.machines("", "/v1/status", f"Cookie: __Host-workspace-machines={token}"),
        target.machines("", "/v1/status", f"X-Forwarded-Access-Token: {token}"),
    ]
    return one_of(map(target.told, answers), "401")


@attack("machines", "Otto's cookie of the people's door")
def _cookie(target: Target) -> str:
    cookie = target.cookie("otto@example.com")
    other = cookie.replace("workspace=", "__Host-workspace-machines=")
    answers = [target.machines("", "/v1/status", one) for one in (cookie, other)]
    return one_of(map(target.told, answers), "401")


@attack("people", "a machine's right JWT instead of a login")
def _token_at_people(target: Target) -> str:
    bearer = f"Authorization: Bearer {_made(target)}"
    return one_of([target.told(target.people("/runner/v1/status", bearer))], "401")


@attack("machines", "forged headers beside a right JWT of a viewer, asking for a full refresh")
def _forged(target: Target) -> str:
    token = _made(target, groups=["viewers"])
    body = json.dumps(
        {"operation": "full_refresh", "select": ["dim_dates"], "why": "forged"}
    ).encode()
    port = target.real.machines_port
    headers = [
        f"Authorization: Bearer {token}",
        *FORGED,
        "X_Forwarded_Groups: owners",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    host = f"127.0.0.1:{port}"
    answer = wire.ask(port, "/v1/runs", host, headers, "POST", body)
    return one_of([target.told(answer)], "403")


@attack("machines", "the runner's page, its JSON and its forms, with a right JWT of an operator")
def _page(target: Target) -> str:
    token = _made(target)
    answers = [
        target.told(target.machines(token, path))
        for path in ("/", "/now.json", "/runs", "/ask/run", "/docs/", "/live/strip")
    ]
    return one_of(answers, "404")


@attack("machines", "Mage's addresses, and the login's, with a right JWT")
def _other_addresses(target: Target) -> str:
    token = _made(target)
    addresses = (
        "/api/pipelines",
        "/pipelines",
        "/websocket/",
        "/runner/v1/status",
        "/..%2fmage.sock",
    )
    return one_of([target.told(target.machines(token, one)) for one in addresses], "301", "404")


@attack("around", "Mage's own port: pages, API, its login, web sockets, with every header forged")
def _mage(target: Target) -> str:
    port = target.settings.mage_port
    answers = []
    for address in ("/", "/api/pipelines", "/api/statuses", "/websocket/", "/websocket/terminal"):
        for headers in ((), FORGED, UPGRADE):
            data = wire.request(address, f"127.0.0.1:{port}", [*headers, "X-A: b"])
            answers.append(target.told(wire.send(port, data)))
    body = b'{"session": {"email": "otto@example.com", "provider": "unknown"}}'
    length = [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    answers.append(target.told(wire.ask(port, "/api/sessions", "127.0.0.1", length, "POST", body)))
    return one_of(answers, "401")


@attack("around", "the runner's own port, with the token that opens it where there is no login")
def _runner(target: Target) -> str:
    port = target.settings.runner_port
    token = target.real.home.api_token.read_text()
    answers = [
        wire.ask(port, "/v1/status", f"127.0.0.1:{port}", headers)
        for headers in ((), FORGED, (f"Authorization: Bearer {token}",))
    ]
    return one_of(map(target.told, answers), "401")


@attack("around", "the proxies' sockets to Mage and the runner, without the proxy's secret")
def _sockets(target: Target) -> str:
    home = target.real.home
    answers = []
    for path in (home.people_socket, home.people_mage_socket, home.machines_socket):
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(
            transport=transport, base_url="http://workspace", timeout=SECONDS
        ) as client:
            headers = dict(line.split(": ", 1) for line in FORGED)
            answers.append(str(client.get("/v1/status", headers=headers).status_code))
    return one_of(answers, "401")


@attack("around", "PostgreSQL without a password")
def _postgres(target: Target) -> str:
    with socket.create_connection(
        ("127.0.0.1", target.settings.postgres_port), SECONDS
    ) as connection:
        said = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0"
        connection.sendall((len(said) + 4).to_bytes(4, "big") + said)
        answer = connection.recv(200)
    assert answer[:1] == b"R" and b"SCRAM-SHA-256" in answer
    return "asks for a password (SCRAM)"
