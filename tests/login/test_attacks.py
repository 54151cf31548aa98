"""Everything an attacker tries at a whole workspace with a login; see attack.py."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.harness.login import Login, WithLogin
from tests.harness.waiting import wait_until
from tests.login import (  # noqa: F401, for their attacks
    attacks_machines,
    attacks_page,
    attacks_people,
    wire,
)
from tests.login.attack import ATTACKS, Attack, Target, table
from tests.security_page import keep_table

BEGIN = "<!-- attacks: written by the tests -->\n"
END = "<!-- end of attacks -->\n"

SLOW = 200
HEADER_SECONDS = 60.0
"""oauth2-proxy gives the headers of a request so long."""

SLOW_ATTACK = Attack(
    "people",
    f"{SLOW} connections that never finish their headers (slow loris), while Ana works",
    lambda target: "",
)

answered: dict[Attack, str] = {}


@pytest.fixture(scope="module")
def target(with_login: WithLogin, doors_open: Login) -> Iterator[Target]:
    yield Target(with_login.login, doors_open, with_login.workspace.settings)


@pytest.fixture(scope="module", autouse=True)
def slow_ones(target: Target) -> Iterator[tuple[float, list[socket.socket]]]:
    """Connections that say a little and then nothing, held during all other attacks."""
    port = target.real.people_port
    held = wire.hold(port, SLOW, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    yield time.monotonic(), held
    for one in held:
        one.close()


@pytest.mark.parametrize("one", ATTACKS, ids=lambda one: one.run.__name__.strip("_"))
def test_an_attack_fails(target: Target, one: Attack) -> None:
    answered[one] = one.run(target)


def test_slow_headers_hold_nobody_up_and_are_cut_off(
    target: Target, slow_ones: tuple[float, list[socket.socket]]
) -> None:
    began, held = slow_ones
    answer = target.people("/runner/v1/status", target.cookie("ana@example.com"))
    assert wire.statuses(answer) == [200]

    def probe() -> bool | str:
        left = len([one for one in held if not wire.closed(one)])
        return left == 0 or f"{left} are open after {time.monotonic() - began:.0f} s"

    wait_until("the slow connections to be closed", probe, HEADER_SECONDS + 30)
    answered[SLOW_ATTACK] = "Ana is answered; each is closed after a minute"


def test_the_page_of_security_has_the_table_of_this_run(request: pytest.FixtureRequest) -> None:
    attacks = [*ATTACKS, SLOW_ATTACK]
    if missing := [one.tried for one in attacks if one not in answered]:
        pytest.skip(f"not run: only a part of the attacks was; missing {missing[0]}")
    rows = table((one, answered[one]) for one in sorted(attacks, key=lambda one: one.door))
    keep_table(BEGIN, END, rows, request, "./scripts/test tests/login")
