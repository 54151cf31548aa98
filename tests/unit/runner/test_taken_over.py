"""What a runner answers on a run that another one has taken over."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mage_dbt.errors import Conflict
from mage_dbt.runner.execution import Execution


class Emptied:
    """A queue that holds nothing of the run any more."""

    def withdraw(self, run: str) -> None: ...


def test_a_decision_on_a_run_that_was_taken_over_names_no_cancellation() -> None:
    nothing: Any = None
    execution = Execution(
        "20261201-101500-abcd",
        job=nothing,
        with_warnings=nothing,
        ledger=nothing,
        queue=cast(Any, Emptied()),
        on_over=nothing,
        worker_of=nothing,
        end_sessions=nothing,
    )
    execution.drop()
    with pytest.raises(Conflict, match="^Another runner has taken over run 20261201-101500-abcd"):
        execution.swap("ana")
