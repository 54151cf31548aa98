"""Which door a call came through, and who may come in there.

| Door | Lets in | May at most |
|---|---|---|
| Mage's socket | whoever can open it | an analyst's with a login on, else everything |
| TCP port | who has the token, from this machine; with a login on nobody but `/ping` | everything |
| people's socket | whom the proxy has signed in, by role | by role |
| machines' socket | whose token the proxy has checked, by role | by role |
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers

from mage_dbt.api.caller import Caller, Door
from mage_dbt.api.limits import CallLimits
from mage_dbt.errors import Forbidden, TooManyRequests, Unauthorized, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.identity.groups import Groups
from mage_dbt.identity.origin import refuse_other_page
from mage_dbt.identity.person import Person
from mage_dbt.identity.role import Role
from mage_dbt.settings import Settings

LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)

OPEN = "/ping"
"""The one path that answers without the token."""


class Refused(Exception):
    """Why a call is not let in, and in how many seconds it may come again."""

    def __init__(self, error: WorkspaceError, wait: int = 0) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


def is_local(scope: Mapping[str, Any]) -> bool:
    """Whether the call came over a Unix socket.

    Read from our own end of the connection (a path without a port): a TCP peer that is gone
    already has no address, and must not pass for a socket.
    """
    server = scope.get("server")
    return server is not None and server[1] is None and scope.get("client") is None


@dataclass(frozen=True)
class Doors:
    """The doors of one runner."""

    settings: Settings
    home: Home
    token: str
    limits: CallLimits

    def let_in(self, scope: Mapping[str, Any], headers: Headers) -> Caller:
        """Who calls. Raises Refused."""
        door = self._door(scope)
        try:
            if door is Door.MAGE:
                return Caller(door, Role.ANALYST if self.settings.login_required else Role.OWNER)
            if door is Door.TOKEN:
                return self._with_token(scope, headers)
            return self._signed_in(door, scope, headers)
        except WorkspaceError as error:
            raise Refused(error) from None

    def _door(self, scope: Mapping[str, Any]) -> Door:
        if not is_local(scope):
            return Door.TOKEN
        path = scope["server"][0]
        if path == str(self.home.people_socket):
            return Door.PEOPLE
        return Door.MACHINES if path == str(self.home.machines_socket) else Door.MAGE

    def _with_token(self, scope: Mapping[str, Any], headers: Headers) -> Caller:
        refuse_web_page(headers)
        host = headers.get("host", "")
        if not LOOPBACK.fullmatch(host):
            raise Forbidden(
                f"The call is for the host {host[:100]!r}, which this is not.",
                "Call 127.0.0.1 or localhost; from elsewhere through an SSH tunnel.",
            )
        peer = scope["client"][0] if scope["client"] else "unknown"
        right = self._has_token(headers.getlist("authorization"))
        if scope["path"] != OPEN and not right:
            self._count_wrong(peer)
            if self.settings.login_required:
                raise Unauthorized(
                    "The login is on, so nothing but /ping answers here.",
                    "Call through the machines' proxy, with a token of the identity provider.",
                )
            raise Unauthorized(
                "This call needs the bearer token.",
                "It is in WORKSPACE_HOME/secrets/api-token; send `Authorization: Bearer …`.",
            )
        # One token today, so one caller; without it only /ping comes here.
        self._count("token" if right else peer)
        return Caller(Door.TOKEN, Role.OWNER if right else Role.VIEWER)

    def _has_token(self, given: list[str]) -> bool:
        """Compares in constant time; what is wrong is not told apart."""
        if self.settings.login_required:  # a shared secret would be a way around the login
            return False
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        right = hmac.compare_digest(token.strip().encode("latin-1"), self.token.encode())
        return right and scheme.lower() == "bearer"

    def _signed_in(self, door: Door, scope: Mapping[str, Any], headers: Headers) -> Caller:
        machine = door is Door.MACHINES
        if machine:
            refuse_web_page(headers)
        file = self.home.proxy_machines_secret if machine else self.home.proxy_people_secret
        try:
            # Read at each call: a new secret holds as soon as it is in its file.
            secret = file.read_text().strip()
            person = Person.read(headers.getlist, secret, Groups.of(self.settings), machine)
        except Unauthorized:
            self._count_wrong(door.value)
            raise
        if not machine:
            refuse_other_page(
                headers.getlist,
                scope["method"],
                self.settings.public_host,
                self.settings.public_origin,
                page=True,  # a link to a run may stand in a chat
            )
        self._count(f"{door.value} {person.name}")
        return Caller(door, person.role, person.name)

    def _count_wrong(self, who: str) -> None:
        if wait := self.limits.wrong_token(who):
            raise Refused(
                TooManyRequests(
                    f"More than {self.limits.wrong_tokens_per_minute} calls without the right "
                    "token within a minute.",
                    "Calls with the right one are answered.",
                ),
                wait,
            )

    def _count(self, who: str) -> None:
        if wait := self.limits.call(who):
            raise Refused(
                TooManyRequests(
                    f"More than {self.limits.calls_per_minute} calls within a minute.",
                    "Wait, then call less often; the events of a run come in one call.",
                ),
                wait,
            )


def refuse_web_page(headers: Headers) -> None:
    """Raises Forbidden for a call that a web page makes."""
    if (origin := headers.get("origin")) is not None:
        raise Forbidden(
            f"The call comes from a web page (Origin: {origin[:100]}).",
            "Call from a program; no web page may.",
        )
