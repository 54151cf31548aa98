"""What a notebook prints goes to the person who ran it, and not to everybody who is connected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

_speaking: ContextVar[str | None] = ContextVar("speaking", default=None)
"""Whose message is being handled; asyncio gives it to the tasks that the handling begins."""


class Executions(dict[str, Any]):
    """Mage's mapping from a kernel's message to what is executed, which also knows for whom."""

    def __setitem__(self, message: str, what: Mapping[str, Any]) -> None:
        super().__setitem__(message, {**what, "for_person": _speaking.get()})


def speaking(client: Any) -> None:
    """Call it when a message of a web socket's is about to be handled."""
    _speaking.set(_name(client))


def listeners(clients: Iterable[Any], executions: Mapping[str, Any], message: str) -> list[Any]:
    """The web sockets that get what belongs to the kernel's message, or to the one handled now.

    Without a login everybody is the one person whose machine it is.
    """
    wanted = executions.get(message, {}).get("for_person") or _speaking.get()
    # A copy: a web socket may close while its neighbour is written to.
    return [one for one in list(clients) if wanted is None or _name(one) == wanted]


def _name(client: Any) -> str | None:
    person = client.request.workspace_person
    return person.name if person else None
