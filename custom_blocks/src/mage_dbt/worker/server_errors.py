"""The last error that the warehouse gave in each thread, as the server says it.

dbt keeps an error's text alone; what kind it is says its SQLSTATE, in every language.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

UNDEFINED_TABLE = "42P01"

_here = threading.local()


@dataclass(frozen=True)
class ServerError:
    """What one error says of itself."""

    sqlstate: str
    primary: str
    """Its first line, without the statement's."""


def note(sqlstate: str | None, primary: str | None) -> None:
    """This is now the last error of the calling thread."""
    _here.error = ServerError(sqlstate or "", primary or "")


def last_in(message: str) -> ServerError | None:
    """The calling thread's last error, when `message` quotes it."""
    error: ServerError | None = getattr(_here, "error", None)
    return error if error and error.primary and error.primary in message else None
