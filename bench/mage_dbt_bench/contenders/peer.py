"""Another orchestrator with its dbt, in an environment of its own, asked from inside.

Its process stays and has everything imported. Schedulers, run launchers and executors are not in
the way: like our own worker called inside, it is measured from where dbt is to begin. See `peers/`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from mage_dbt.launcher.environments import Recipe, python_of
from mage_dbt.settings import CHECKOUT
from mage_dbt_bench.contender import BuildFailed, Built
from mage_dbt_bench.peers.serve import Task
from mage_dbt_bench.stack import Stack
from mage_dbt_bench.usage import tree_cpu

STOP_SECONDS = 20.0

OF_THEIRS = {
    # Its server needs longer than the 20 s it is given where the machine is busy.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "DO_NOT_TRACK": "1",
}


class Peer:
    """One process of the peer's, for all builds."""

    def __init__(
        self,
        name: str,
        what: str,
        stack: Stack,
        recipe: Recipe,
        module: str,
        project: Path,
        builds_all: str = "",
    ) -> None:
        """`project` is the peer's own copy, with manifest and partial parse in `target`."""
        self.name = name
        self.what = what
        self.builds_all = builds_all
        self._stack = stack
        self._recipe = recipe
        self._module = module
        self._project = project
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    def prepare(self) -> None:
        folder = self._stack.home.root / f"{self.name}-home"
        folder.mkdir(parents=True, exist_ok=True)
        python = python_of(self._stack.home, self._recipe)
        self._log = (self._stack.home.logs / f"{self.name}.log").open("wb")
        environment = self._stack.dbt_environment() | {
            "HOME": str(folder),
            "PATH": f"{python.parent}:{self._stack.dbt_environment()['PATH']}",
            "PYTHONPATH": str(CHECKOUT / "bench"),
            **OF_THEIRS,
        }
        self._process = subprocess.Popen(
            [str(python), "-P", "-m", f"mage_dbt_bench.peers.{self._module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=folder,
            env=environment,
            text=True,
            start_new_session=True,
        )
        words = self._stack.profile.arguments()
        task = Task(
            project=str(self._project),
            profiles=str(self._stack.profile.folder),
            profile=words[words.index("--profile") + 1],
            target=words[words.index("--target") + 1],
            model=self._stack.project.measured,
            home=str(folder),
        )
        self._ask(task.to_line())

    def build(self, model: str | None) -> Built:
        began = time.time()
        self._ask("one\n" if model else "all\n")
        return Built(began, time.time())

    def _ask(self, line: str) -> None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            raise BuildFailed(f"{self.name}: its process has ended") from None
        answer = process.stdout.readline()
        failed = json.loads(answer)["failed"] if answer else "its process has ended"
        if failed:
            raise BuildFailed(f"{self.name}: {failed.strip()}")

    def cpu(self) -> float:
        return tree_cpu(self._process.pid) if self._process else 0.0

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process else []

    def close(self) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return
        self._process = None
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):  # Prefect's server outlives who started it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if self._log is not None:
            self._log.close()
