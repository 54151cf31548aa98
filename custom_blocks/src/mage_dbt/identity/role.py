"""The four roles, from the least to the most; each may whatever the ones before it may."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """Compare them: `role >= Role.ANALYST`."""

    VIEWER = 1
    ANALYST = 2
    OPERATOR = 3
    OWNER = 4

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def named(cls, word: str) -> Role | None:
        """The role of this name, as `str` gives it."""
        return next((one for one in cls if str(one) == word), None)
