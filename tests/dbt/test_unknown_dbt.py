"""A dbt that our shortcuts were not compared with does its own way, function by function."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import dbt.version
import pytest

from mage_dbt.commits.folders import TREE
from mage_dbt.commits.graph_key import SHORTCUTS
from mage_dbt.workers.child_process import COMMAND
from tests.dbt.parsed import answer
from tests.harness.another_dbt import without
from tests.harness.waiting import SECONDS

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


@pytest.mark.parametrize(
    ("kind", "lost", "words"),
    [
        (
            *("fork-server", "dbt.deps.git:GitPinnedPackage._checkout"),
            "It has no dbt.deps.git.GitPinnedPackage._checkout",
        ),
        ("run", "dbt.clients.git:run_cmd", "It has no dbt.clients.git.run_cmd"),
        ("ended", "dbt.exceptions:DbtProjectError", "cannot import name 'DbtProjectError' from"),
        ("zygote", "dbt.deps.local:", "dbt.deps.local"),
    ],
)
def test_a_dbt_without_what_is_guarded_is_named_in_words_by_each_process(
    tmp_path: Path, kind: str, lost: str, words: str
) -> None:
    done = subprocess.run(
        [*COMMAND, kind, "any"],
        env={**os.environ, "PYTHONPATH": without(lost, tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    version = dbt.version.installed.to_version_string(skip_matcher=True)
    begin = f"dbt {version} does not fit the workspace."
    assert done.stderr.startswith(begin) and words in done.stderr
    assert " (/" not in done.stderr
    if kind != "zygote":  # which answers nobody
        answered = str(json.loads(done.stdout))
        assert begin in answered and "dbt/requirements.txt" in answered


NEW_PATHS = """
from dbt.config.project import PartialProject
from mage_dbt.dbt import borders
from mage_dbt.dbt.parsing import parse

create = PartialProject.create_project

def create_project(self, rendered):
    project = create(self, rendered)
    project.brand_new_paths = ["near", "../out"]
    return project

PartialProject.create_project = create_project
borders.protect()
borders.hold(arguments)
answer(str(borders.outside(parse(arguments)[0].exception)))
"""


def test_folders_that_another_dbt_reads_are_held_too(tmp_path: Path) -> None:
    (refusal,) = answer(NEW_PATHS, "nightly", tmp_path / f"{'0' * 12}-{'0' * 8}" / TREE)
    assert "brand-new-paths of nightly: ../out leads out of the repository." in refusal
