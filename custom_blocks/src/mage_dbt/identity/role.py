"""The four roles in rising order. Each may do everything that a lower role may."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """A role; compare roles as in `role >= Role.ANALYST`."""

    VIEWER = 1
    ANALYST = 2
    OPERATOR = 3
    OWNER = 4

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def named(cls, word: str) -> Role | None:
        """The role of this name, as `str` returns it; None for another word."""
        return next((role for role in cls if str(role) == word), None)
