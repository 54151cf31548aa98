"""A project that nobody here wrote: each node's result in the ledger is dbt's own; not part of CI.

    ./scripts/test tests/differential/any_project.py --dbt-project FOLDER --dbt-subdir SUBFOLDER -s

The folder is a checkout for PostgreSQL with its seeds and packages in it. Everything is built by
dbt's command line and by the runner, each in a warehouse of its own: as it is, once more on what is
there, with the model broken that most nodes depend on, and after its repair by `dbt retry` and a
rerun of what failed.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mage_dbt.model.run import Run, RunState
from tests.differential import warehouse_state
from tests.differential.behaviours import Step
from tests.differential.command_line import CommandLines
from tests.differential.contenders import (
    CommandLine,
    Prepared,
    Server,
    base_environment,
    differently_told,
    prepare,
)
from tests.differential.outcome import Outcome, plain, read_folder
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.repository import git_commit
from tests.harness.runner import Runner

RUN_SECONDS = 1800.0

BROKEN = "this is no SQL;\n"

HOW = ("warm", "cold: its configuration reads the clock as dbt parses")

LEFT_BEHIND = shutil.ignore_patterns(".git", "target", "dbt_packages", "logs")


@dataclass(frozen=True)
class Sides:
    """The same checkout twice: read by dbt's command line, and committed for the runner."""

    tree: Path
    subdir: str
    command_line: CommandLine
    runner: Runner

    def write(self, path: str, text: str) -> None:
        for root in (self.tree, self.runner.repository):
            (root / self.subdir / path).write_text(text)
        self.runner.live(git_commit(self.runner.repository, f"Change {path}"))

    def theirs(self, again: bool = False) -> Outcome:
        commit = Prepared(self.tree / self.subdir, Path())
        found = self.command_line.do(Step("build", again=again), commit, base_environment())
        assert not found.refused, found.refused
        return found

    def ours(self, rerun_of: Run | None = None) -> tuple[Run, Outcome]:
        asked = {"operation": "rerun_failed", "of": rerun_of.id} if rerun_of else {}
        run = self.runner.over(self.runner.ask(**asked), RUN_SECONDS)
        folder = self.runner.home.runs / run.id
        found = Outcome(
            run.detail if not run.nodes else "",
            success=run.state is RunState.SUCCESS,
            **read_folder(folder, one_at_a_time=False),
        )
        told = json.loads(
            plain(json.dumps([one.to_json() for one in run.nodes]), folder / "target")
        )
        wrong = differently_told(told, found.nodes)
        assert not wrong, wrong
        assert self.runner.how(run) in HOW, self.runner.how(run)
        if rerun_of:
            found = replace(found, arguments={})  # `dbt retry` has other words
        return run, replace(found, state=warehouse_state.read(self.runner.url("dbt")))


@pytest.fixture
def sides(request: pytest.FixtureRequest, server: Database, tmp_path: Path) -> Iterator[Sides]:
    project = request.config.getoption("--dbt-project")
    if project is None:
        pytest.fail("Name the checkout to try: --dbt-project FOLDER.")
    subdir = request.config.getoption("--dbt-subdir")
    tree = tmp_path / "tree"
    shutil.copytree(project, tree, ignore=LEFT_BEHIND)
    theirs, lines = Server(tmp_path / "theirs"), CommandLines()
    try:
        given = {"DBT_METRIC_SUBDIR": subdir}
        with runners.on_project(tmp_path / "ours", server, str(tree), **given) as runner:
            prepare(tree / subdir, tmp_path / "ready", theirs, lines.run)
            command_line = CommandLine("cli", theirs, tmp_path / "lines", program=lines.run)
            theirs.make(command_line.database)
            yield Sides(tree, subdir, command_line, runner)
    finally:
        lines.stop()
        theirs.stop()


@pytest.mark.timeout(7200)
def test_each_node_ends_as_dbt_ends_it(sides: Sides) -> None:
    said: list[str] = []
    first = sides.theirs(), sides.ours()[1]
    second = sides.theirs(), sides.ours()[1]
    changing = of_the_run(first[0], second[0])
    print(f"\nNot compared, as dbt's own two builds differ: {', '.join(changing) or 'nothing'}")

    def compare(what: str, right: Outcome, found: Outcome) -> None:
        right, found = without(right, changing), without(found, changing)
        statuses = dict(Counter(facts["status"] for facts in right.nodes.values()))
        different = right.differences(found)
        print(f"\n{what}: {len(right.nodes)} nodes {statuses}, {len(different)} differences")
        said.extend(f"--- {what}\n{one}" for one in different)

    compare("build", *first)
    compare("build again", *second)
    path = most_read(sides.command_line.folder / f"cli-{sides.command_line.steps}" / "target")
    text = (sides.tree / sides.subdir / path).read_text()
    sides.write(path, BROKEN + text)
    right = sides.theirs()
    broken, found = sides.ours()
    compare(f"{path} broken", right, found)
    sides.write(path, text)
    right = sides.theirs(again=True)
    compare(f"{path} repaired", right, sides.ours(broken)[1])
    assert not said, "\n\n".join(said)


def of_the_run(one: Outcome, other: Outcome) -> list[str]:
    """The rows of relations that dbt's second build made other ones, by chance or by the clock."""
    rows = sorted(name for name in one.state if name.startswith("rows "))
    return [name for name in rows if one.state[name] != other.state.get(name)]


def without(found: Outcome, changing: Sequence[str]) -> Outcome:
    """Without the rows of these relations, and files that several tests of one name write."""
    names = Counter(one.split(".")[2] for one in found.nodes if one.startswith("test."))
    sql = {path: text for path, text in found.sql.items() if names[Path(path).stem] < 2}
    state = {name: facts for name, facts in found.state.items() if name not in changing}
    return replace(found, sql=sql, state=state)


def most_read(target: Path) -> str:
    """The file of the root project's model on which most other nodes depend."""
    manifest: dict[str, Any] = json.loads((target / "manifest.json").read_text())
    children: dict[str, list[str]] = manifest["child_map"]

    def below(node: str) -> int:
        seen: set[str] = set()
        waiting = [node]
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return len(seen)

    models = [
        one
        for one in manifest["nodes"].values()
        if one["resource_type"] == "model"
        and one["package_name"] == manifest["metadata"]["project_name"]
        and one["language"] == "sql"
        and one["config"]["materialized"] != "ephemeral"
    ]
    return str(
        max(models, key=lambda one: (below(one["unique_id"]), one["name"]))["original_file_path"]
    )
