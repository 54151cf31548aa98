"""Authentication: which listener a call came in at, who calls, and how often they may.

| Listener | Who may call | Role at most |
|---|---|---|
| Mage's socket | whoever can open it | an analyst's with a login on, else everything |
| TCP port | who has the token, from this machine; with a login on nobody but `/ping` | everything |
| TCP port, the page | without a login, a browser on this machine | everything |
| people's socket | whom the proxy has signed in, by role | by role |
| machines' socket | whose token the proxy has checked, by role | by role |
"""

from __future__ import annotations

import hmac
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers

from mage_dbt.errors import Forbidden, TooManyRequests, Unauthorized, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.identity.groups import Groups
from mage_dbt.identity.origin import refuse_other_page
from mage_dbt.identity.person import Person
from mage_dbt.identity.role import Role
from mage_dbt.server.caller import Caller, Listener
from mage_dbt.server.pages.routes import is_page
from mage_dbt.settings import Settings

LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)

OPEN = "/ping"
"""The one path that answers without the token."""


STRICTER = 30
"""Of 600 calls a minute 20 may have no right token: far more than a person mistypes, far less than
guessing needs. They are counted apart, so that nobody locks out who has the token."""


class Refused(Exception):
    """A call is not answered; `error` says why, `wait` is the seconds until it may come again."""

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


class CallLimits:
    """Limits on calls, as moving windows in memory.

    Each method counts a call and returns 0, or the whole seconds until the next one may come.
    """

    def __init__(self, calls_per_minute: int) -> None:
        self.calls_per_minute = calls_per_minute
        self.wrong_tokens_per_minute = max(1, calls_per_minute // STRICTER)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._calls = RateLimitItemPerMinute(calls_per_minute)
        self._wrong = RateLimitItemPerMinute(self.wrong_tokens_per_minute)

    def call(self, caller: str) -> int:
        """One call of a caller who may call."""
        return self._take(self._calls, "call", caller)

    def wrong_token(self, address: str) -> int:
        """One call from an address without the right token."""
        return self._take(self._wrong, "wrong", address)

    def _take(self, item: RateLimitItemPerMinute, *who: str) -> int:
        if self._limiter.hit(item, *who):
            return 0
        reset = self._limiter.get_window_stats(item, *who).reset_time
        return max(1, math.ceil(reset - time.time()))


@dataclass(frozen=True)
class Authentication:
    """The rules of one runner; `token` is what a call over TCP has to bring."""

    settings: Settings
    home: Home
    token: str
    limits: CallLimits

    def caller(self, scope: Mapping[str, Any], headers: Headers) -> Caller:
        """Who calls. Raises Refused."""
        listener = self._listener(scope)
        try:
            if listener is Listener.MAGE:
                return Caller(
                    listener, Role.ANALYST if self.settings.login_required else Role.OWNER
                )
            if listener is Listener.TOKEN:
                return self._with_token(scope, headers)
            return self._signed_in(listener, scope, headers)
        except WorkspaceError as error:
            raise Refused(error) from None

    def _listener(self, scope: Mapping[str, Any]) -> Listener:
        if not is_local(scope):
            return Listener.TOKEN
        path = scope["server"][0]
        if path == str(self.home.people_socket):
            return Listener.PEOPLE
        machines = path == str(self.home.machines_socket)
        return Listener.MACHINES if machines else Listener.MAGE

    def _with_token(self, scope: Mapping[str, Any], headers: Headers) -> Caller:
        if (
            not self.settings.login_required
            and is_page(scope["path"])
            and "authorization" not in headers
        ):
            return self._at_this_machine(scope, headers)
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
        return Caller(Listener.TOKEN, Role.OWNER if right else Role.VIEWER)

    def _at_this_machine(self, scope: Mapping[str, Any], headers: Headers) -> Caller:
        """The person whose machine it is, in a browser, as at Mage's own page.

        The names of this machine alone are taken, so that no page elsewhere can point its own name
        at it; `refuse_other_page` stops what such a page sends here.
        """
        host = headers.get("host", "").lower()
        port = self.settings.runner_port
        if host not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            raise Forbidden(
                f"The call is for the host {host[:100]!r}, which this is not.",
                f"Open http://127.0.0.1:{port}/; from elsewhere through an SSH tunnel.",
            )
        refuse_other_page(headers.getlist, scope["method"], host, f"http://{host}", page=True)
        self._count("page")
        return Caller(Listener.BROWSER, Role.OWNER)

    def _has_token(self, given: list[str]) -> bool:
        """Compares in constant time, and does not distinguish how a token is wrong."""
        if self.settings.login_required:  # a shared secret would be a way around the login
            return False
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        right = hmac.compare_digest(token.strip().encode("latin-1"), self.token.encode())
        return right and scheme.lower() == "bearer"

    def _signed_in(self, listener: Listener, scope: Mapping[str, Any], headers: Headers) -> Caller:
        machine = listener is Listener.MACHINES
        if machine:
            refuse_web_page(headers)
        file = self.home.proxy_machines_secret if machine else self.home.proxy_people_secret
        try:
            # Read at each call, so that a new secret is used as soon as its file holds it.
            secret = file.read_text().strip()
            person = Person.read(headers.getlist, secret, Groups.of(self.settings), machine)
        except Unauthorized:
            self._count_wrong(listener.value)
            raise
        if not machine:
            refuse_other_page(
                headers.getlist,
                scope["method"],
                self.settings.public_host,
                self.settings.public_origin,
                page=True,  # a link to a run may stand in a chat
            )
        self._count(f"{listener.value} {person.name}")
        return Caller(listener, person.role, person.name)

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
