"""The kind of failure of a run without a failed node: refused, cut off, cancelled. Pure."""

from __future__ import annotations

import re

from mage_dbt.model.failure import Failure, FailureClass, failure_of, sqlstate_of_refusal
from mage_dbt.model.reason import first_line
from mage_dbt.model.run import (
    CANCELLED,
    CANCELLED_IN_MAGE,
    ENDED_EARLY,
    RUNNER_STOPPED,
    UNDECIDED,
    NodeResult,
)

NO_CONNECTION = re.compile(r"connection to server (at|on) ")
"""libpq's words, which are not translated."""

DECISION = re.compile(
    rf"({CANCELLED}|thrown away) by |{CANCELLED}: {CANCELLED_IN_MAGE}|{UNDECIDED}", re.IGNORECASE
)
"""How a person's decision begins, or one that was wanted and did not come."""

ACCIDENT = re.compile(
    rf"\b({RUNNER_STOPPED}|{CANCELLED}|{ENDED_EARLY})\b|^The runner |"
    "took more than|does not answer|could not be made ready|could not be fetched|could not take it",
    re.IGNORECASE,
)
"""The beginnings of what an accident of the machine leaves as a run's reason."""


def failure_of_run(reason: str) -> Failure:
    """The failure in a run's own reason: that somebody stopped it, infrastructure for an accident,
    else what its words tell, else code: then the request or the commit was refused."""
    state = sqlstate_of_refusal(reason) if NO_CONNECTION.search(reason) else ""
    result = NodeResult("run", "run", "run", "error", message=reason, sqlstate=state)
    failure = failure_of(result)
    kind = failure.failure_class
    if DECISION.match(reason):
        kind = FailureClass.STOPPED
    elif ACCIDENT.search(reason):
        kind = FailureClass.INFRASTRUCTURE
    elif kind is not FailureClass.INFRASTRUCTURE:
        kind = FailureClass.CODE
    title = failure.title or first_line(reason) or "dbt gave no reason."
    return Failure(kind, failure.sqlstate, title, failure.signature)
