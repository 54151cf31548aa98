"""Who or what ended a run, where that was none of its nodes. Pure."""

from __future__ import annotations

from mage_dbt.model.refresh import Step
from mage_dbt.model.request import Operation
from mage_dbt.model.run import (
    CANCELLED,
    INTERRUPTED,
    RUNNER_STOPPED,
    UNDECIDED,
    NodeResult,
    Run,
    RunState,
)

CUT_OFF = (CANCELLED, RUNNER_STOPPED, INTERRUPTED, UNDECIDED)
"""How the message of a node begins that failed only because its run was ended."""

REFRESHES = (Operation.FULL_REFRESH, Operation.UNDO_REFRESH)


def stopped(run: Run) -> str:
    """`Cancelled by kim: it is too slow.`; empty for a run that came to its own end.

    Of a refresh that was shown first it says that it was thrown away.
    """
    if run.state is RunState.CANCELLED:
        held = any(step.step is Step.HOLDS for step in run.refresh) and not run.swapped
        by = f"{CANCELLED.capitalize()} by "
        if held and run.detail.startswith(by):
            return f"Thrown away by {run.detail.removeprefix(by)}"
        return run.detail
    for words in (RUNNER_STOPPED, UNDECIDED):
        at = run.detail.lower().find(words.lower())
        if run.state is RunState.ERROR and at >= 0:
            reason = run.detail[at : at + 1].upper() + run.detail[at + 1 :]
            return reason.rstrip(".") + "."
    return ""


def cut_off(result: NodeResult) -> bool:
    """Whether the node failed only because its run was ended."""
    return result.failed and result.message.startswith(CUT_OFF)


def changed_nothing(run: Run) -> bool:
    """Whether no relation can be another one than before: it was built aside, or not at all."""
    return run.discarded or (run.operation in REFRESHES and run.started_at is None)
