"""The ticket: proof for the runner that the workspace itself began a pipeline run in Mage."""

from __future__ import annotations

import hmac

from mage_dbt.home import Home
from mage_dbt.model.request import Cause

CAUSES = (Cause.SCHEDULE, Cause.START)
"""The causes that need a ticket."""

HEADER = "X-Workspace-Ticket"
"""The header that carries the ticket to the runner."""


def ticket(secret: str, cause: str, pipeline_run: int | None) -> str:
    """The ticket of the pipeline run with this id in Mage."""
    return hmac.new(secret.encode(), f"{cause}:{pipeline_run}".encode(), "sha256").hexdigest()


def is_right(given: str, home: Home, cause: str, pipeline_run: int | None) -> bool:
    """Whether `given` is the ticket of this cause and pipeline run."""
    try:
        right = ticket(secret(home), cause, pipeline_run)
    except FileNotFoundError:  # then no Mage here can have begun anything
        return False
    return hmac.compare_digest(given.encode(), right.encode())


def secret(home: Home) -> str:
    """The secret behind tickets, which Mage and the runner share. Raises FileNotFoundError."""
    return home.runner_to_mage_secret.read_text().strip()
