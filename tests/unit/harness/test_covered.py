"""The table at the end of all tests, without counting anything."""

from __future__ import annotations

from tests.harness.covered import PACKAGE, folder_of, share


def test_a_file_counts_for_the_folder_below_the_top() -> None:
    assert folder_of(PACKAGE / "worker" / "patches" / "graph.py") == "worker"
    assert folder_of(PACKAGE / "run.py") == "(top)"


def test_a_share_is_never_told_better_than_it_is() -> None:
    assert share("all", 1999, 2000) == "  99 % of  2000 lines  all"
    assert share("empty", 0, 0).startswith(" 100 %")
