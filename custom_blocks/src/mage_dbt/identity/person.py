"""The signed-in person or machine, read from the headers that the proxy sets.

The headers count only beside the proxy's secret, which nobody outside has. The proxy removes these
headers from what comes from outside before it sets its own.
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
"""Each group as `Basic` and the base64 of `<group>:<the proxy's secret>`.

The proxy joins groups with commas, and a group's name may have a comma. As plain text, a group
`a,owners` would make its members owners.
"""

NAME = re.compile(r"[!-~]{1,254}")
"""The characters of an e-mail address or a subject, which is shown, logged and kept."""

PERSONS_NAME = re.compile(r"[^@\s]+@[^@\s]+")

OURS = "@workspace.invalid"
"""The domain of the workspace's own users in Mage. No identity provider has such an address."""

Values = Callable[[str], Sequence[str]]
"""Returns all values of a request's header, by its name."""


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in. The name is an e-mail address; a machine's is in its token."""

    name: str
    role: Role

    @classmethod
    def read(cls, values: Values, secret: str, groups: Groups, machine: bool = False) -> Person:
        """The person who sends a request.

        Raises Unauthorized without the right `secret`, and Forbidden for a person without a usable
        name or without a role.
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


RUNNER = Person(f"runner{OURS}", Role.OWNER)
"""The workspace's own runner, where Mage wants a user."""


def is_secret(given: Sequence[str], secret: str) -> bool:
    """Whether exactly one value is given and it is the secret, in constant time."""
    value = given[0] if len(given) == 1 else ""
    right = hmac.compare_digest(value.encode("utf-8", "replace"), secret.encode())
    return right and len(given) == 1 and secret != ""


def _groups(values: Sequence[str], secret: str) -> list[str]:
    """The groups in repeated headers and comma lists; a text that is not the proxy's is none."""
    found = []
    for item in ",".join(values).split(","):
        kind, _, encoded = item.strip().partition(" ")
        try:
            group = base64.b64decode(encoded, validate=True).decode()
        except ValueError:  # no base64, or no UTF-8
            continue
        if kind == "Basic" and group.endswith(f":{secret}"):
            found.append(group.removesuffix(f":{secret}"))
    return found
