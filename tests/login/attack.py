"""What an attack is: what was tried at which door, and what answered. Every attack is a row of the
table in docs/security.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpx

from mage_dbt.settings import Settings
from tests.harness.login import Login
from tests.login import wire

SIGN_IN = "302 to the provider's sign-in"


@dataclass
class Target:
    """A workspace with a login (`real`), and the same proxies before servers that say what they
    see (`mirror`)."""

    real: Login
    mirror: Login
    settings: Settings
    cookies: dict[tuple[int, str], str] = field(default_factory=dict)

    def cookie(self, email: str, chain: Login | None = None) -> str:
        """The header line of somebody who has signed in."""
        chain = chain or self.real
        key = (chain.people_port, email)
        if key not in self.cookies:
            with chain.sign_in(email) as client:
                pairs = [
                    f"{one.name}={one.value}"
                    for one in client.cookies.jar
                    if one.name.startswith("workspace") and "csrf" not in one.name
                ]
            self.cookies[key] = "Cookie: " + "; ".join(pairs)
        return self.cookies[key]

    def people(
        self, target: str, *headers: str, method: str = "GET", body: bytes = b"", host: str = ""
    ) -> bytes:
        """What the people's door of the workspace answers."""
        port = self.real.people_port
        return wire.ask(port, target, host or f"127.0.0.1:{port}", headers, method, body)

    def machines(self, token: str, target: str = "/v1/status", *headers: str) -> bytes:
        """What the machines' door of the workspace answers; without a token when it is empty."""
        port = self.real.machines_port
        bearer = [f"Authorization: Bearer {token}"] if token else []
        return wire.ask(port, target, f"127.0.0.1:{port}", [*bearer, *headers])

    def arrived(self, *headers: str) -> dict[str, list[str]]:
        """What arrives behind the people's door of what Ana sends; empty when nothing does."""
        chain = self.mirror
        cookie = self.cookie("ana@example.com", chain)
        host = f"127.0.0.1:{chain.people_port}"
        answer = wire.ask(chain.people_port, "/api/pipelines", host, [cookie, *headers])
        found: dict[str, list[str]] = {}
        if wire.statuses(answer) == [200]:
            for name, value in json.loads(wire.body(answer))["headers"]:
                found.setdefault(name, []).append(value)
        return found

    def told(self, answer: bytes) -> str:
        """An answer in a few words, the same at every run."""
        found = wire.statuses(answer)
        if not found:
            return "connection closed"
        to = wire.header(answer, "Location")
        if found[0] == 302 and to.startswith(self.real.provider):
            return SIGN_IN
        return str(found[0])


@dataclass(frozen=True)
class Attack:
    door: str
    tried: str
    run: Callable[[Target], str]


ATTACKS: list[Attack] = []


def attack(door: str, tried: str) -> Callable[[Callable[[Target], str]], Callable[[Target], str]]:
    """The decorated function tries it, asserts that it fails, and gives what answered."""

    def note(run: Callable[[Target], str]) -> Callable[[Target], str]:
        ATTACKS.append(Attack(door, tried, run))
        return run

    return note


def one_of(answers: Iterable[str], *allowed: str) -> str:
    """The different answers, in words; asserts that each is an allowed one."""
    found = sorted(set(answers))
    assert set(found) <= set(allowed), found
    return ", ".join(found)


def table(rows: Iterable[tuple[Attack, str]]) -> str:
    """The table as docs/security.md has it."""
    lines = ["| Door | Tried | Answered |", "|---|---|---|"]
    lines += [f"| {one.door} | {one.tried} | {answered} |" for one, answered in rows]
    return "\n".join(lines) + "\n"


def ended_at(answer: httpx.Response) -> str:
    """Scheme, host and port a browser ends at."""
    return f"{answer.url.scheme}://{answer.url.netloc.decode()}"
