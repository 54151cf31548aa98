"""Which role a request to the runner needs. This is the only list of what is dangerous."""

from __future__ import annotations

from collections.abc import Mapping

from mage_dbt.errors import Forbidden
from mage_dbt.identity.role import Role
from mage_dbt.model.request import Operation, Request

NEEDED: Mapping[Operation, Role] = {
    Operation.BUILD: Role.ANALYST,
    Operation.RERUN_FAILED: Role.ANALYST,
    Operation.COMMAND: Role.ANALYST,
    Operation.FULL_REFRESH: Role.ANALYST,
    Operation.UNDO_REFRESH: Role.ANALYST,
}
"""An operation that is not listed needs the role operator."""

WORKSPACE = Role.OPERATOR
"""The least role that changes what holds for everybody, such as the daily build's schedule."""

WORKSPACE_CALLS = ("/v1/schedule", "/v1/alerts/test", "/settings/")
"""How addresses begin that change such a thing, or send to everybody."""

OWN_CALLS = ("/language/",)
"""How addresses begin that change what holds for the caller alone."""

DANGEROUS_FLAGS = ("--full-refresh", "--empty")
"""Flags with which a dbt command drops tables and everything that depends on them, or leaves them
without rows."""


def needed(request: Request) -> Role:
    """The least role that may send this request. A rerun needs the role of the run it repeats."""
    if request.operation is Operation.COMMAND:
        flags = request.dbt_command().flags
        if any(flag in DANGEROUS_FLAGS for flag in flags):
            return Role.OPERATOR
    if request.override:
        return Role.OPERATOR
    return NEEDED.get(request.operation, Role.OPERATOR)


def needed_to_call(path: str) -> Role:
    """The least role for a call of the address `path` that does more than read."""
    if path.startswith(OWN_CALLS):
        return Role.VIEWER
    return WORKSPACE if path.startswith(WORKSPACE_CALLS) else Role.ANALYST


def may_drop_views(role: Role) -> bool:
    """Whether a full refresh in place, of this role, may drop views that it does not rebuild.

    Somebody may have made them by hand, and one that no longer fits does not come back.
    """
    return role >= Role.OPERATOR


def require(role: Role, wanted: Role, what: str) -> None:
    """Raises Forbidden when `role` is below `wanted`; `what` names the request in the error."""
    if role < wanted:
        raise Forbidden(
            f"{what} is for the role {wanted}; yours here is {role}.",
            f"Ask somebody who has the role {wanted}.",
        )
