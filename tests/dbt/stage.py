"""One behaviour's project and those who do its acts: dbt's command line and our workers."""

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
    prepare,
)
from tests.dbt.outcome import Outcome

DBT = tuple(int(part) for part in version("dbt-core").split(".")[:2])

KNOWN = [one for one in BEHAVIOURS if one.since <= DBT]


@dataclass(frozen=True)
class Cast:
    """Who plays: the command line with its PostgreSQL, our workers with theirs."""

    theirs: Server
    ours: Server
    program: Program
    warm: Warm


class Stage:
    """One behaviour's project, its commits, and those who act on them."""

    def __init__(
        self,
        behaviour: Behaviour,
        folder: Path,
        cast: Cast,
        cold_acts: int,
        shortcuts: bool = True,
    ) -> None:
        self._behaviour = behaviour
        self._folder = folder / behaviour.name
        self._cast = cast
        self._cold_acts = cold_acts
        self._commits: dict[str, Prepared] = {}
        self._files: dict[str, str] = {}
        self._command_line = CommandLine("cli", cast.theirs, self._folder, program=cast.program)
        self._workers: list[Contender] = [
            WorkerContender("cold", cast.ours, self._folder, shortcuts, make=ColdWorker),
            WorkerContender("warm", cast.ours, self._folder, shortcuts, make=cast.warm.worker),
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


@contextmanager
def assembled(folder: Path) -> Iterator[Cast]:
    """The contenders, in `folder`."""
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
