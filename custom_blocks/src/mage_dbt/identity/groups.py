"""Roles by the identity provider's groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mage_dbt.identity.role import Role
from mage_dbt.settings import Settings


@dataclass(frozen=True)
class Groups:
    """The settings `LOGIN_…_GROUPS`."""

    of_role: Mapping[Role, frozenset[str]]

    @classmethod
    def of(cls, settings: Settings) -> Groups:
        """The groups in the settings."""
        return cls(
            {
                Role.VIEWER: frozenset(settings.login_viewer_groups),
                Role.ANALYST: frozenset(settings.login_analyst_groups),
                Role.OPERATOR: frozenset(settings.login_operator_groups),
                Role.OWNER: frozenset(settings.login_owner_groups),
            }
        )

    def role(self, groups: Iterable[str]) -> Role | None:
        """The highest role that `groups` give; None when they give none."""
        given = frozenset(groups)
        return max((role for role, names in self.of_role.items() if names & given), default=None)
