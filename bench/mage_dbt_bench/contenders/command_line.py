"""dbt's command line, a new process a build: as people type it, tuned, and with other variables."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mage_dbt_bench.contender import BuildFailed, Built
from mage_dbt_bench.stack import Stack
from mage_dbt_bench.usage import children_cpu

TUNED = (
    *("--no-write-json", "--log-level-file", "none", "--no-version-check", "--quiet"),
    *("--cache-selected-only", "--use-fast-test-edges", "--no-send-anonymous-usage-stats"),
)
"""Everything in dbt 1.11's flags that shortens the way to the SQL and leaves the result alone."""


class CommandLine:
    """`dbt build`, or another command; its partial parse is warm after `prepare`."""

    def __init__(
        self,
        name: str,
        what: str,
        stack: Stack,
        project: Path,
        flags: tuple[str, ...] = (),
        command: str = "build",
    ) -> None:
        self.name = name
        self.what = what
        self.builds_all = ""
        self._stack = stack
        self.project = project
        self._flags = flags
        self._command = command
        self._running: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """The first build parses; the bench makes one that is not counted."""

    def build(self, model: str | None) -> Built:
        chosen = ["--select", model] if model else []
        command = [
            *(str(Path(sys.executable).parent / "dbt"), self._command, *chosen),
            *("--project-dir", str(self.project), *self._stack.profile.arguments()),
            *("--target-path", str(self.project / "target")),
            *("--log-path", str(self.project / "logs"), *self._more_flags()),
        ]
        began = time.time()
        self._running = subprocess.Popen(
            command,
            cwd=self.project,
            env=self._stack.dbt_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = self._running.communicate()
        over = time.time()
        if self._running.returncode:
            raise BuildFailed(f"{self.name}: {said.decode(errors='replace')[-2000:]}")
        return Built(began, over)

    def compiled(self, model: str) -> str:
        """The model's SQL as the last build compiled it."""
        found = (self.project / "target" / "compiled").rglob(f"{model}.sql")
        return next(found).read_text()

    def _more_flags(self) -> tuple[str, ...]:
        return self._flags

    def cpu(self) -> float:
        return children_cpu()

    def pids(self) -> list[int]:
        return [self._running.pid] if self._running and self._running.poll() is None else []

    def close(self) -> None:
        """Each build's process has ended with it."""


class OtherVariables(CommandLine):
    """The command line with `--vars` that differ from the last call's, as a scheduler passes its
    execution date: dbt parses the whole project again."""

    def __init__(self, name: str, what: str, stack: Stack, project: Path) -> None:
        super().__init__(name, what, stack, project)
        self.builds_all = "its build is the command line's after a longer parse"
        self._numbers: Iterator[int] = itertools.count(1)

    def _more_flags(self) -> tuple[str, ...]:
        return ("--vars", json.dumps({"execution_date": f"2026-01-01T00:00:{next(self._numbers)}"}))
