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
from mage_dbt.launcher.database_roles import SUPERUSER, WORKSPACE
from mage_dbt.model.request import Cause, Operation, Request
from mage_dbt.model.run import Run, RunState
from mage_dbt.runner.queue.queue import Queue
from mage_dbt.settings import CHECKOUT, Settings
from tests.harness.database import Database
from tests.harness.waiting import SECONDS, wait_until


class Queues:
    """Several runners' ends of the queue, on one database."""

    def __init__(self, server: Database, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._opened: list[Queue] = []
        self.lost: list[str] = []

    def open(self, home: str = "one", **environ: str) -> Queue:
        settings = Settings.load(environ, Path("/nonexistent"))
        queue = Queue(
            self._server.postgres.url("runner"),
            settings,
            Home(self._folder / home),
            self.lost.append,
        )
        queue.open()
        self._opened.append(queue)
        return queue

    def close(self) -> None:
        for queue in self._opened:
            queue.close()

    def ask(self, sql: str, *values: Any) -> list[Any]:
        return self._server.rows("ledger", sql, *values)

    def as_superuser(self, sql: str) -> None:
        with self._server.connect(SUPERUSER, WORKSPACE) as connection:
            connection.execute(sql.encode())


def a_run(name: str, caller: str = "alice", **fields: Any) -> Run:
    """A run that waits; `request` and `operation` are given as the ledger keeps them."""
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
        "cause": Cause.TOOL,
        "caller": caller,
        "why": "",
        "mage_run": None,
        "follows": None,
        "morning": None,
        "late_seconds": 0,
        "planned": (),
    }
    values |= fields
    values["operation"] = Operation(values["operation"])
    values["request"] = Request.from_json({"operation": values["operation"]} | values["request"])
    return Run(**values)


class Waiter(threading.Thread):
    """One run in the queue, in a thread of its own."""

    def __init__(
        self, queue: Queue, run: Run | str, writes: tuple[str, ...], reads: tuple[str, ...] = ()
    ) -> None:
        super().__init__(daemon=True)
        asked = a_run(run) if isinstance(run, str) else run
        self.turn: bool | None = None
        self.reasons: list[str] = []
        self.descriptors: list[int] = []
        queue.claim(asked.id)
        self._go: Callable[[], bool] = lambda: queue.wait(
            asked, writes, reads, self.reasons.append, self.descriptors.append
        )
        self.start()

    def run(self) -> None:
        self.turn = self._go()

    def has_turn(self) -> bool:
        self.join(SECONDS)
        return self.turn is True

    def waits(self, words: str) -> str:
        def probe() -> list[str] | str:
            last = self.reasons[-1] if self.reasons else "it never said that it waits"
            return [last] if words in last else last

        return wait_until(f"it to say {words!r}", probe)[0]


# Owns a run as a runner does that is then killed with SIGKILL. The child stands for the worker:
# it has the descriptor of the lease's session, and no more.
OWNER = """
import os, signal, subprocess, sys
from pathlib import Path
from mage_dbt.home import Home
from mage_dbt.runner.queue.queue import Queue
from mage_dbt.settings import Settings
sys.path.insert(0, sys.argv[2])
from tests.harness.queue import a_run
queue = Queue(os.environ["URL"], Settings.load({}, Path("/nonexistent")), Home(Path(sys.argv[1])))
queue.open()
queue.claim("held")
leases = []
assert queue.wait(a_run("held"), ["a"], [], print, leases.append)
worker = subprocess.Popen(
    [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=leases
)
print(worker.pid, flush=True)
signal.pause()
"""


class Owner:
    """A runner of another process that owns the run `held`, with a worker."""

    def __init__(self, server: Database, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(home), str(CHECKOUT)],
            stdout=subprocess.PIPE,
            text=True,
            env={"URL": server.postgres.url("runner"), "PATH": "/usr/bin:/bin"},
        )
        assert self.process.stdout is not None
        self.worker = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
