"""Which role a request at the runner needs. The one list: what is dangerous is said here only."""

from __future__ import annotations

from collections.abc import Mapping

from mage_dbt.errors import Forbidden
from mage_dbt.identity.role import Role
from mage_dbt.request import Operation, Request

NEEDED: Mapping[Operation, Role] = {
    Operation.BUILD: Role.ANALYST,
    Operation.RERUN_FAILED: Role.ANALYST,
    Operation.COMMAND: Role.ANALYST,
    Operation.FULL_REFRESH: Role.ANALYST,
}
"""An operation that is not here is dangerous until somebody says otherwise."""

DANGEROUS_FLAGS = ("--full-refresh", "--empty")
"""Of a dbt command: with one of these it drops tables with whatever depends on them, unasked, or
leaves them without their rows."""


def needed(request: Request) -> Role:
    """The least role that may ask for this. A rerun needs what the run it repeats needed."""
    if request.operation is Operation.COMMAND:
        flags = request.dbt_command().flags
        if any(flag in DANGEROUS_FLAGS for flag in flags):
            return Role.OPERATOR
    return NEEDED.get(request.operation, Role.OPERATOR)


def may_drop_views(role: Role) -> bool:
    """Whether this role's full refresh may take along views that it does not rebuild: they may be
    anybody's, made by hand, and nothing brings them back."""
    return role >= Role.OPERATOR


def require(role: Role, wanted: Role, what: str) -> None:
    """Raises Forbidden when `role` is less than `wanted`; `what` is what was asked for."""
    if role < wanted:
        raise Forbidden(
            f"{what} is for the role {wanted}; yours here is {role}.",
            "docs/security.md says which role may what, and through which door.",
        )
