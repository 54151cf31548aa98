"""A dbt that our shortcuts were not compared with does its own way, function by function."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.commits.graph_key import SHORTCUTS
from tests.dbt.parsed import answer

CODE = """
from dbt.compilation import Compiler
from dbt.context import base
from dbt.graph.selector import NodeSelector
from mage_dbt.dbt import project

if words == ["other"]:
    compiled, clock = Compiler.compile, base.get_datetime_module_context
    Compiler.compile = lambda *given, **named: compiled(*given, **named)
    base.get_datetime_module_context = lambda: clock()
criteria = NodeSelector.get_nodes_from_criteria
parsed = project.Project.parse(arguments, watch_clock=True)
parsed.warm(arguments)
listed = parsed.invoke(["ls", *arguments, "--select", "facts+"])
ours = NodeSelector.get_nodes_from_criteria is not criteria
answer(listed.result, ours, parsed.differences)
"""


def test_one_function_that_differs_is_called_and_told_and_the_others_are_replaced(
    tmp_path: Path,
) -> None:
    known, other = (answer(CODE, "steps", tmp_path / "steps", dbt) for dbt in ("known", "other"))
    assert known[0] == other[0] != []
    assert known[1:] == [True, []]
    assert other[1:] == [
        True,
        [
            "1 function of this dbt is not the one that our shortcut was compared with, so runs "
            "take longer: Compiler.compile.",
            "Whether configuration reads the clock is not known with this dbt, whose functions are "
            "other ones: get_datetime_module_context.",
        ],
    ]


def test_shortcuts_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = answer(CODE, "steps", tmp_path / "steps")
    monkeypatch.setenv(SHORTCUTS, "false")
    without = answer(CODE, "steps", tmp_path / "steps")
    assert known[0] == without[0] != []
    assert without[1:] == [False, []]
