"""Sends what a notebook prints to the person who ran it, and not to everybody who is connected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

_sender: ContextVar[str | None] = ContextVar("sender", default=None)
"""The person whose message is being handled. asyncio copies it to the tasks that this begins."""


class Executions(dict[str, Any]):
    """Mage's mapping from a kernel's message to what it executes, with the person added."""

    def __setitem__(self, message: str, execution: Mapping[str, Any]) -> None:
        super().__setitem__(message, {**execution, "for_person": _sender.get()})


def set_sender(client: Any) -> None:
    """Call it before a message of the web socket `client` is handled."""
    _sender.set(_name(client))


def receivers(clients: Iterable[Any], executions: Mapping[str, Any], message: str) -> list[Any]:
    """The web sockets that get the output of a kernel's message, or of the one handled now.

    Without a login every web socket belongs to the person whose machine it is.
    """
    person = executions.get(message, {}).get("for_person") or _sender.get()
    # A copy: a web socket may close while another is written to.
    return [client for client in list(clients) if person is None or _name(client) == person]


def _name(client: Any) -> str | None:
    person = client.request.workspace_person
    return person.name if person else None
