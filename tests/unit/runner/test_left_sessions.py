"""What is said of a run that was cut off."""

from __future__ import annotations

from mage_dbt.model.refresh import Step
from mage_dbt.model.run import RunState
from mage_dbt.runner.left_sessions import Found

DROPPED = Found(
    step=Step.DISCARDED,
    outcome="What was built aside is dropped. Nothing has changed.",
    hint="Ask again.",
)


def test_the_detail_of_a_cut_off_run_says_nothing_twice() -> None:
    for detail in (
        "The worker was killed.",
        "It was interrupted. Nothing has changed.",
        "It was interrupted. Nothing has changed. Ask again.",
    ):
        said = DROPPED.completed(RunState.ERROR, detail)
        assert "What was built aside is dropped." in said
        assert said.count("Nothing has changed.") == 1 and said.count("Ask again.") == 1, said
    whole = DROPPED.completed(RunState.ERROR, "")
    assert DROPPED.completed(RunState.ERROR, whole) == whole
