"""How a process of dbt's ended, in words."""

from __future__ import annotations

import pytest

from mage_dbt.workers.child_process import UNKNOWN, how_ended


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "exit status 1"),
        (-9, "killed by SIGKILL"),
        (-35, "killed by signal 35"),  # a real-time signal has no name
        (UNKNOWN, "how is not known, the process that forked it is gone"),
    ],
)
def test_every_end_has_words(status: int, words: str) -> None:
    assert how_ended(status) == words
