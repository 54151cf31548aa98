"""Who makes a call, by the listener it came in at, which bounds what a caller may."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mage_dbt.base.redaction import scrub
from mage_dbt.errors import RequestError
from mage_dbt.identity.role import Role

KEY = "mage_dbt.caller"
"""The key of ASGI's scope under which the middleware puts the caller."""

MAGE_ITSELF = re.compile(r"Mage, (notebook|trigger .*)|somebody in Mage", re.DOTALL)
"""The caller that Mage's blocks name where they know of nobody (`mage/blocks.py`). No person's name
has a space."""

PEOPLES_PREFIX = "/runner"
"""Of our paths at the people's address; every other path there is Mage's."""


class Listener(Enum):
    """One of the sockets that the runner listens on."""

    MAGE = "mage"
    """The Unix socket of Mage's blocks and of the tool in a terminal."""
    TOKEN = "token"
    """The TCP port, with the bearer token."""
    PEOPLE = "people"
    """The people's proxy."""
    MACHINES = "machines"
    """The machines' proxy."""
    BROWSER = "browser"
    """The TCP port without the token, from a page of ours on this machine; only without a login."""


@dataclass(frozen=True)
class Caller:
    """Who calls: `name` is empty where the listener cannot know it."""

    listener: Listener
    role: Role
    name: str = ""

    @property
    def prefix(self) -> str:
        """The beginning of every path of ours, as this caller sees it."""
        return PEOPLES_PREFIX if self.listener is Listener.PEOPLE else ""

    @property
    def may_name_origin(self) -> bool:
        """Whether the call itself may name its origin: caller, cause, key and Mage's run."""
        return self.listener is Listener.MAGE

    def recorded_as(self, named: str) -> str:
        """The caller that the ledger names. `named` is the name that the call itself gives.

        Raises RequestError when somebody who is signed in gives another name than their own.
        """
        if self.listener is Listener.PEOPLE:
            if named not in ("", self.name):
                raise RequestError(
                    f"You are signed in as {self.name}, and not {named[:100]}.",
                    "Leave the name out.",
                )
            return self.name
        if self.listener is Listener.MAGE:
            named = scrub(named)
            # With a login on: code in a notebook may call itself anybody, and this says so.
            named = named or "somebody"
            plain = self.role is Role.OWNER or MAGE_ITSELF.fullmatch(named)
            return named if plain else f"{named} via Mage"
        if self.listener is Listener.BROWSER:
            return "somebody at this machine"
        named = scrub(named)
        name = self.name or "API"
        return f"{name}: {named}" if named else name


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """The caller whom the middleware has found for this call."""
    found = scope[KEY]
    assert isinstance(found, Caller)
    return found
