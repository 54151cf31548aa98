"""Who reads a page."""

from __future__ import annotations

from dataclasses import dataclass

from mage_dbt.identity.role import Role
from mage_dbt.server.caller import Caller, Listener


@dataclass(frozen=True)
class Reader:
    """A person, or whoever is at this machine."""

    caller: Caller

    @property
    def name(self) -> str:
        """As the ledger records what they do."""
        return self.caller.recorded_as("")

    @property
    def role(self) -> Role:
        return self.caller.role

    @property
    def signed_in(self) -> bool:
        return self.caller.listener is Listener.PEOPLE

    def may(self, role: str) -> bool:
        """Whether they may do what the role of this name may."""
        needed = Role.named(role)
        return needed is not None and self.role >= needed
