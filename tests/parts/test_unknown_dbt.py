"""A dbt that our shortcuts were not compared with does everything its own way."""

from __future__ import annotations

from pathlib import Path

from tests.parts.parsed import answer

CODE = """
import sys
from dbt.compilation import Linker
from dbt.graph.selector import NodeSelector
from mage_dbt.worker import project

theirs = NodeSelector.get_nodes_from_criteria
if words == ["unknown"]:
    project.KNOWN = ("0.1.",)
parsed = project.Project.parse(arguments)
parsed.warm(arguments)
listed = parsed.invoke(["ls", *arguments, "--select", "facts+"])
untouched = NodeSelector.get_nodes_from_criteria is theirs
imported = "mage_dbt.worker.shortcuts" in sys.modules
answer(listed.result, untouched, imported)
"""


def test_a_dbt_of_another_version_goes_its_own_way_to_the_same_selection(tmp_path: Path) -> None:
    known, unknown = (
        answer(CODE, "steps", tmp_path / "steps", version) for version in ("known", "unknown")
    )
    assert known[0] == unknown[0] != []
    assert known[1:] == [False, True] and unknown[1:] == [True, False]
