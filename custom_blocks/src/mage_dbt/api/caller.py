"""Who makes a call, by the door it came through. The door is the ceiling of what a caller may."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mage_dbt.errors import RequestError
from mage_dbt.identity.role import Role

KEY = "mage_dbt.caller"
"""Where in ASGI's scope the caller of a call stands."""

MAGE_ITSELF = re.compile(r"Mage, (notebook|trigger .*)|somebody in Mage", re.DOTALL)
"""What Mage's blocks say where they know of nobody (`blocks.py`). No person's name has a space."""

PEOPLES_PREFIX = "/runner"
"""At the people's address everything else is Mage."""


class Door(Enum):
    """One listener of the runner's."""

    MAGE = "mage"
    """The Unix socket of Mage's blocks and of the tool in a terminal."""
    TOKEN = "token"
    """The TCP port, with the bearer token."""
    PEOPLE = "people"
    """The people's proxy."""
    MACHINES = "machines"
    """The machines' proxy."""


@dataclass(frozen=True)
class Caller:
    """Who calls: `name` is empty where the door cannot tell."""

    door: Door
    role: Role
    name: str = ""

    @property
    def prefix(self) -> str:
        """Before every address of ours, as this caller finds it."""
        return PEOPLES_PREFIX if self.door is Door.PEOPLE else ""

    @property
    def claims(self) -> bool:
        """Whether the call itself may say who it is from, its cause, key and Mage's run."""
        return self.door is Door.MAGE

    def told(self, claimed: str) -> str:
        """Who stands in the ledger. `claimed` is what the call says of it; a person who is signed
        in says nothing, raises RequestError."""
        if self.door is Door.PEOPLE:
            if claimed not in ("", self.name):
                raise RequestError(
                    f"You are signed in as {self.name}, and not {claimed[:100]}.",
                    "Leave the name out.",
                )
            return self.name
        if self.door is Door.MAGE:
            # With a login on: code in a notebook may claim to be anybody, and this says so.
            claimed = claimed or "somebody"
            plain = self.role is Role.OWNER or MAGE_ITSELF.fullmatch(claimed)
            return claimed if plain else f"{claimed} via Mage"
        name = self.name or "API"
        return f"{name}: {claimed}" if claimed else name


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """The caller that the guard has found for this call."""
    found = scope[KEY]
    assert isinstance(found, Caller)
    return found
