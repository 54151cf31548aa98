"""The queue alone, on a real ledger: several runners' ends of it, and runs that wait in it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mage_dbt.home import Home
from mage_dbt.run import Run, RunState
from mage_dbt.runner.line import Line
from mage_dbt.settings import CHECKOUT, Settings
from mage_dbt.workspace.postgres import SUPERUSER, WORKSPACE
from tests.harness.database import Database
from tests.harness.waiting import wait_until

WAIT = 30.0


class Queue:
    """Several runners' ends of the queue, on one database."""

    def __init__(self, server: Database, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._opened: list[Line] = []
        self.lost: list[str] = []

    def open(self, home: str = "one", **environ: str) -> Line:
        settings = Settings.load(environ, Path("/nonexistent"))
        line = Line(
            self._server.postgres.url("runner"),
            settings,
            Home(self._folder / home),
            self.lost.append,
        )
        line.open()
        self._opened.append(line)
        return line

    def close(self) -> None:
        for line in self._opened:
            line.close()

    def ask(self, sql: str, *values: Any) -> list[Any]:
        return self._server.rows("ledger", sql, *values)

    def as_superuser(self, sql: str) -> None:
        with self._server.connect(SUPERUSER, WORKSPACE) as connection:
            connection.execute(sql.encode())


def a_run(name: str, caller: str = "alice", **fields: Any) -> Run:
    values: dict[str, Any] = {
        "id": name,
        "operation": "build",
        "state": RunState.QUEUED,
        "detail": "",
        "asked_at": datetime.now(UTC),
        "started_at": None,
        "finished_at": None,
        "request": {"select": [name]},
        "commit": "",
        "commit_subject": "",
        "target": "",
        "dbt_version": "",
        "cause": "tool",
        "caller": caller,
        "why": "",
        "mage_run": None,
        "follows": None,
        "morning": None,
        "late_seconds": 0,
        "planned": (),
    }
    return Run(**(values | fields))


class Waiter(threading.Thread):
    """One run in the line, in a thread of its own."""

    def __init__(
        self, line: Line, run: Run | str, writes: tuple[str, ...], reads: tuple[str, ...] = ()
    ) -> None:
        super().__init__(daemon=True)
        asked = a_run(run) if isinstance(run, str) else run
        self.turn: bool | None = None
        self.reasons: list[str] = []
        self.descriptors: list[int] = []
        line.carry(asked.id)
        self._go: Callable[[], bool] = lambda: line.wait(
            asked, writes, reads, self.reasons.append, self.descriptors.append
        )
        self.start()

    def run(self) -> None:
        self.turn = self._go()

    def has_turn(self) -> bool:
        self.join(WAIT)
        return self.turn is True

    def waits(self, words: str) -> str:
        def probe() -> list[str] | str:
            last = self.reasons[-1] if self.reasons else "it never said that it waits"
            return [last] if words in last else last

        return wait_until(f"it to say {words!r}", probe, WAIT)[0]


# Holds a place as a runner that is then killed -9 would leave it. The child stands for the worker:
# it has the descriptor of the run's session, and no more.
HOLDER = """
import os, signal, subprocess, sys
from pathlib import Path
from mage_dbt.home import Home
from mage_dbt.runner.line import Line
from mage_dbt.settings import Settings
sys.path.insert(0, sys.argv[2])
from tests.harness.queue import a_run
line = Line(os.environ["URL"], Settings.load({}, Path("/nonexistent")), Home(Path(sys.argv[1])))
line.open()
line.carry("held")
held = []
assert line.wait(a_run("held"), ["a"], [], print, held.append)
worker = subprocess.Popen(
    [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=held
)
print(worker.pid, flush=True)
signal.pause()
"""


class Holder:
    """A runner of another process that holds the run `held`, with a worker."""

    def __init__(self, server: Database, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(home), str(CHECKOUT)],
            stdout=subprocess.PIPE,
            text=True,
            env={"URL": server.postgres.url("runner"), "PATH": "/usr/bin:/bin"},
        )
        assert self.process.stdout is not None
        self.worker = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
