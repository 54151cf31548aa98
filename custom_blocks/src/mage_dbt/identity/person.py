"""The person, or the machine, that the proxy has let in, read from the headers it sets.

The headers are believed only beside the proxy's secret, which nobody outside has. Whatever of them
comes from outside the proxy takes away before it sets its own.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mage_dbt.errors import Forbidden, Unauthorized
from mage_dbt.identity.groups import Groups
from mage_dbt.identity.role import Role

PROXY_SECRET = "X-Workspace-Proxy"
"""The header with the proxy's secret."""

EMAIL = "X-Forwarded-Email"
GROUPS = "X-Forwarded-Groups"
"""Each group as `Basic` and the base64 of `<group>:<the proxy's secret>`. The proxy joins what it
tells with commas, and a group's name may hold some: as plain text, one called `a,owners` would make
its members owners."""

NAME = re.compile(r"[!-~]{1,254}")
"""What an e-mail address or a subject may consist of here: it is shown, logged and kept."""

PERSONS_NAME = re.compile(r"[^@\s]+@[^@\s]+")

OURS = "@workspace.invalid"
"""The addresses of the workspace itself where Mage wants a user; nobody's at any provider."""

Values = Callable[[str], Sequence[str]]
"""Gives every value of a request's header of that name."""


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in, by e-mail address (a machine: by what its token calls it)."""

    name: str
    role: Role

    @classmethod
    def read(cls, values: Values, secret: str, groups: Groups, machine: bool = False) -> Person:
        """Who a request is from.

        Raises Unauthorized without the right `secret`, Forbidden for somebody without a name or a
        role.
        """
        if not is_secret(values(PROXY_SECRET), secret):
            raise Unauthorized("Nobody is signed in.", "Come through the workspace's login.")
        names = values(EMAIL)
        if len(names) != 1:
            raise Unauthorized("The login does not say who is signed in.", "Sign in again.")
        name = names[0].strip().lower()
        known = NAME.fullmatch(name) and (machine or PERSONS_NAME.fullmatch(name))
        if not known or name.endswith(OURS):
            raise Forbidden(
                "The identity provider tells no e-mail address of yours that can be used.",
                "docs/security.md says what it has to tell.",
            )
        role = groups.role(_groups(values(GROUPS), secret))
        if role is None:
            raise Forbidden(
                f"{name} is signed in, and in no group that may use this workspace.",
                "Ask who administers the groups; the settings LOGIN_…_GROUPS name them.",
            )
        return cls(name, role)


def is_secret(given: Sequence[str], secret: str) -> bool:
    """Whether exactly one value is given and it is the secret; takes the same time for any."""
    told = given[0] if len(given) == 1 else ""
    right = hmac.compare_digest(told.encode("utf-8", "replace"), secret.encode())
    return right and len(given) == 1 and secret != ""


def _groups(values: Sequence[str], secret: str) -> list[str]:
    """The groups in repeated headers and comma lists; what the proxy does not write is none."""
    found = []
    for one in ",".join(values).split(","):
        kind, _, encoded = one.strip().partition(" ")
        try:
            group = base64.b64decode(encoded, validate=True).decode()
        except ValueError:  # no base64, or no UTF-8
            continue
        if kind == "Basic" and group.endswith(f":{secret}"):
            found.append(group.removesuffix(f":{secret}"))
    return found
