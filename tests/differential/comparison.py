"""One behaviour's project, and the contenders that take its steps: dbt itself and our workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mage_dbt.home import Home
from mage_dbt.settings import Settings
from mage_dbt.workers.pool import Pool
from mage_dbt.workers.worker import ColdWorker
from tests.differential.behaviours import BEHAVIOURS, Behaviour, Step
from tests.differential.command_line import CommandLines
from tests.differential.contenders import (
    CommandLine,
    Contender,
    Prepared,
    Program,
    Server,
    WorkerContender,
    base_environment,
    prepare,
)
from tests.differential.outcome import Outcome

DBT = tuple(int(part) for part in version("dbt-core").split(".")[:2])

KNOWN = [one for one in BEHAVIOURS if one.since <= DBT]


@dataclass(frozen=True)
class Contenders:
    """What is compared: the command line with its PostgreSQL, our workers with theirs."""

    theirs: Server
    ours: Server
    program: Program
    pool: Pool


class Comparison:
    """One behaviour's project, its commits, and the contenders."""

    def __init__(
        self,
        behaviour: Behaviour,
        folder: Path,
        contenders: Contenders,
        cold_steps: int,
        shortcuts: bool = True,
    ) -> None:
        self._behaviour = behaviour
        self._folder = folder / behaviour.name
        self._contenders = contenders
        self._cold_steps = cold_steps
        self._commits: dict[str, Prepared] = {}
        self._files: dict[str, str] = {}
        self._command_line = CommandLine(
            "cli", contenders.theirs, self._folder, program=contenders.program
        )
        self._workers: list[Contender] = [
            WorkerContender("cold", contenders.ours, self._folder, shortcuts, make=ColdWorker),
            WorkerContender(
                "warm", contenders.ours, self._folder, shortcuts, make=contenders.pool.worker
            ),
        ]

    def __enter__(self) -> Comparison:
        for one in (self._command_line, *self._workers):
            one.server.make(one.database)
        return self

    def __exit__(self, *why: object) -> None:
        for one in (self._command_line, *self._workers):
            one.server.drop(one.database)

    def differences(self, steps: Sequence[Step]) -> str:
        """Does the steps in turn; tells every difference, and is empty when there is none."""
        said = []
        for name, number, right, ours in self._do(steps):
            for one in right.differences(ours):
                said.append(f"--- {name}, step {number + 1}: {steps[number].said()}\n{one}")
        return "\n\n".join(said)

    def _do(self, steps: Sequence[Step]) -> Iterator[tuple[str, int, Outcome, Outcome]]:
        """Each step with the outcome of the command line and of each worker, by its name."""
        commits = [self._commit(one.files) for one in steps]
        given = [{**base_environment(), **one.environ} for one in steps]
        work = list(zip(steps, commits, given, strict=True))
        with ThreadPoolExecutor(1) as other:
            expected = other.submit(lambda: [self._command_line.do(*one) for one in work])
            found = {
                one.name: [
                    one.do(*two)
                    for two in (work[: self._cold_steps] if one.name == "cold" else work)
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
            made = prepare(
                folder / "tree", folder / "ready", self._contenders.ours, self._contenders.program
            )
            self._commits[digest] = made
        return self._commits[digest]


@contextmanager
def assembled(folder: Path) -> Iterator[Contenders]:
    """The contenders, in `folder`."""
    home = Home(folder / "home")
    home.root.mkdir()
    settings = Settings.load({"WORKSPACE_HOME": str(home.root)}, folder / "no.env")
    servers: list[Server] = []
    lines = CommandLines()
    pool = Pool(settings, home)
    try:
        for name in ("theirs", "ours"):
            servers.append(Server(folder / name))
        theirs, ours = servers
        yield Contenders(theirs, ours, lines.run, pool)
    finally:
        pool.close()
        lines.stop()
        for one in servers:
            one.stop()
