"""Promise 3: our workers' results equal the dbt command line's.

For each project of `tests/projects/behaviours` the same acts are done by the plain `dbt`, by the
cold worker and by the warm one, each in a warehouse of its own: same nodes, statuses, messages,
failures, SQL, relations, rows, grants, comments, indexes.

    ./scripts/test tests/dbt/test_differential.py --thorough -k incremental
    ./scripts/test tests/dbt/test_differential.py --thorough
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from mage_dbt.home import Home
from mage_dbt.settings import Settings
from mage_dbt.worker.cold import ColdWorker
from mage_dbt.worker.warm import Warm
from tests.dbt.behaviours import BEHAVIOURS, Act, Behaviour
from tests.dbt.command_line import CommandLines
from tests.dbt.contenders import (
    CommandLine,
    Contender,
    Prepared,
    Program,
    Server,
    WorkerContender,
    base_environment,
    installed_dbt,
    prepare,
)
from tests.dbt.outcome import Outcome

DBT = tuple(int(part) for part in version("dbt-core").split(".")[:2])

USUAL = ("together", "naming", "fail_fast", "retries", "selectors")
"""Without `--thorough`: most behaviours at once, and what only a root project or a flag can do."""

SECONDS = 1800
"""For one behaviour, on a machine that does a dozen other things."""

KNOWN = [one for one in BEHAVIOURS if one.since <= DBT]

COLD_ACTS = 2
"""Of each behaviour the cold worker does the first two, unless `--thorough`: it starts dbt for each
as the command line does, and shares with the warm one all that comes after."""


@dataclass(frozen=True)
class Cast:
    """Who plays: the command line with its PostgreSQL, our workers with theirs."""

    theirs: Server
    ours: Server
    program: Program
    warm: Warm


class Stage:
    """One behaviour's project, its commits, and those who act on them."""

    def __init__(self, behaviour: Behaviour, folder: Path, cast: Cast, cold_acts: int) -> None:
        self._behaviour = behaviour
        self._folder = folder / behaviour.name
        self._cast = cast
        self._cold_acts = cold_acts
        self._commits: dict[str, Prepared] = {}
        self._files: dict[str, str] = {}
        self._command_line = CommandLine("cli", cast.theirs, self._folder, program=cast.program)
        self._workers: list[Contender] = [
            WorkerContender("cold", cast.ours, self._folder, make=ColdWorker),
            WorkerContender("warm", cast.ours, self._folder, make=cast.warm.worker),
        ]

    def __enter__(self) -> Stage:
        for one in (self._command_line, *self._workers):
            one.server.make(one.database)
        return self

    def __exit__(self, *why: object) -> None:
        for one in (self._command_line, *self._workers):
            one.server.drop(one.database)

    def differences(self, acts: Sequence[Act]) -> str:
        """Does the acts in turn; tells every difference, and is empty when there is none."""
        said = []
        for name, number, right, ours in self._do(acts):
            for one in right.differences(ours):
                said.append(f"--- {name}, act {number + 1}: {acts[number].said()}\n{one}")
        return "\n\n".join(said)

    def _do(self, acts: Sequence[Act]) -> Iterator[tuple[str, int, Outcome, Outcome]]:
        """Each act with the outcome of the command line and of each worker, by its name."""
        commits = [self._commit(one.files) for one in acts]
        given = [{**base_environment(), **one.environ} for one in acts]
        work = list(zip(acts, commits, given, strict=True))
        with ThreadPoolExecutor(1) as other:
            expected = other.submit(lambda: [self._command_line.do(*one) for one in work])
            found = {
                one.name: [
                    one.do(*two)
                    for two in (work[: self._cold_acts] if one.name == "cold" else work)
                ]
                for one in self._workers
            }
            outcomes = expected.result()
        for name, mine in found.items():
            for number, ours in enumerate(mine):
                yield name, number, outcomes[number], ours

    def _commit(self, files: Mapping[str, str]) -> Prepared:
        """The commit with these files changed from the one before, made ready."""
        self._files.update(files)
        digest = hashlib.sha256(repr(sorted(self._files.items())).encode()).hexdigest()[:8]
        if digest not in self._commits:
            folder = self._folder / f"commit-{digest}"
            self._behaviour.copy(folder / "tree")
            for path, text in self._files.items():
                (folder / "tree" / path).write_text(text)
            made = prepare(folder / "tree", folder / "ready", self._cast.ours, self._cast.program)
            self._commits[digest] = made
        return self._commits[digest]


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    folder = tmp_path_factory.mktemp("cast")
    home = Home(folder / "home")
    home.root.mkdir()
    settings = Settings.load({"WORKSPACE_HOME": str(home.root)}, folder / "no.env")
    servers: list[Server] = []
    lines = CommandLines()
    warm = Warm(settings, home)
    try:
        for name in ("theirs", "ours"):
            servers.append(Server(folder / name))
        theirs, ours = servers
        yield Cast(theirs, ours, lines.run, warm)
    finally:
        warm.close()
        lines.stop()
        for one in servers:
            one.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """CI does the usual behaviours, in the time it has; `--thorough` does all."""
    if "behaviour" in metafunc.fixturenames:
        thorough = metafunc.config.getoption("--thorough")
        chosen = [one for one in KNOWN if thorough or one.name in USUAL]
        metafunc.parametrize(
            "behaviour",
            [
                pytest.param(
                    one,
                    id=one.name,
                    marks=pytest.mark.xfail(reason=one.differs, strict=True) if one.differs else (),
                )
                for one in chosen
            ],
        )


@pytest.mark.timeout(SECONDS)
def test_the_command_line_and_our_workers_agree(
    behaviour: Behaviour, cast: Cast, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    acts = behaviour.acts
    cold_acts = len(acts) if request.config.getoption("--thorough") else COLD_ACTS
    with Stage(behaviour, tmp_path, cast, cold_acts) as stage:
        said = stage.differences(acts)
    assert not said, said


def test_a_forked_command_line_is_the_program_itself(cast: Cast, tmp_path: Path) -> None:
    """What the others are compared with, compared with `dbt` as a person starts it."""
    behaviour = next(one for one in KNOWN if one.name == "surroundings")
    ready = prepare(behaviour.project, tmp_path / "ready", cast.theirs, cast.program)
    found = []
    for name, program in (("forked", cast.program), ("installed", installed_dbt)):
        contender = CommandLine(name, cast.theirs, tmp_path / "stage", program=program)
        cast.theirs.make(contender.database)
        found.append([contender.do(act, ready, base_environment()) for act in behaviour.acts[:2]])
        cast.theirs.drop(contender.database)
    for forked, installed in zip(*found, strict=True):
        assert installed.nodes
        assert installed.differences(forked) == []
