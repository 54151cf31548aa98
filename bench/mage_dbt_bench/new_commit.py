"""A new commit: how long until runs are forked from it, and what requests wait meanwhile.

Both are measured through the HTTP API and from the moment git-sync publishes the commit. Beside
them stands dbt's own parse of the same files by its command line, with nothing parsed before.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from mage_dbt.launcher.progress import Progress
from mage_dbt_bench.contender import BuildFailed, Contender
from mage_dbt_bench.results import Measured, spread
from mage_dbt_bench.stack import READY_SECONDS, Stack

ROUNDS = 3
REQUESTS = 5
"""In each round before the commit; meanwhile there are as many as fit."""

POLL_SECONDS = 0.01


@dataclass
class NewCommit:
    """Seconds, of all rounds."""

    dbt_parse: list[float] = field(default_factory=list)
    """dbt's command line: `dbt parse`, from its start to its end."""
    ready: list[float] = field(default_factory=list)
    """From the published commit to the moment when requests run on it."""
    first: list[float] = field(default_factory=list)
    """The first request then, to its SQL."""
    before: list[float] = field(default_factory=list)
    """Requests before it, to their SQL."""
    meanwhile: list[float] = field(default_factory=list)
    """Requests while another commit is made ready, to their SQL."""

    def to_json(self) -> dict[str, Any]:
        return {
            "dbt_parse_s": spread(self.dbt_parse),
            "ready_s": spread(self.ready),
            "ready_after_dbt_parse_s": round(median(self.ready) - median(self.dbt_parse), 2),
            "first_to_sql_s": spread(self.first),
            "to_sql_before_s": spread(self.before),
            "to_sql_meanwhile_s": {**spread(self.meanwhile), "requests": len(self.meanwhile)},
        }


def measure(
    stack: Stack,
    api: Contender,
    one: Callable[[Contender, Measured], None],
    progress: Progress,
) -> NewCommit:
    """`one` has a contender build the measured model once. Raises BuildFailed."""
    found = NewCommit()
    numbers = itertools.count(1)

    def request(to: list[float]) -> None:
        measured = Measured.of(api)
        one(api, measured)
        to += measured.to_sql

    for number in range(ROUNDS):
        for _ in range(REQUESTS):
            request(found.before)
        found.dbt_parse.append(_dbt_parse(stack))
        alone = _Publication(stack, next(numbers))
        alone.wait()
        found.ready.append(alone.seconds)
        request(found.first)
        busy = _Publication(stack, next(numbers))
        while not busy.over:
            request(found.meanwhile)
        busy.wait()
        progress.say(f"commits: round {number + 1} of {ROUNDS} is over")
    return found


class _Publication:
    """One more commit, and when it was published and ready."""

    def __init__(self, stack: Stack, number: int) -> None:
        [model] = (stack.project.folder / "models").rglob(f"{stack.project.measured}.sql")
        with model.open("a") as text:
            text.write(f"-- {number}\n")
        self._sha = stack.publish(f"Commit {number}")
        self._published = stack.home.sync / "current"
        self._commits = stack.home.commits
        self.seconds = 0.0
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    @property
    def over(self) -> bool:
        return not self._watch.is_alive()

    def wait(self) -> None:
        """Raises BuildFailed when it did not become ready."""
        self._watch.join()
        if not self.seconds:
            raise BuildFailed(f"commit {self._sha[:7]} was not ready after {READY_SECONDS:.0f} s")

    def _look(self) -> None:
        began = published = time.monotonic()
        while time.monotonic() < began + READY_SECONDS:
            if self._published.readlink().name != self._sha:
                published = time.monotonic()
            elif list(self._commits.glob(f"{self._sha[:12]}-*/ready.json")):
                self.seconds = time.monotonic() - published
                return
            time.sleep(POLL_SECONDS)


def _dbt_parse(stack: Stack) -> float:
    """Seconds."""
    target = stack.home.root / "parse"
    command = [
        *(str(Path(sys.executable).parent / "dbt"), "parse", "--no-partial-parse"),
        *("--project-dir", str(stack.project.folder), *stack.profile.arguments()),
        *("--target-path", str(target), "--log-path", str(target)),
    ]
    began = time.monotonic()
    done = subprocess.run(
        command, env=stack.dbt_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildFailed(f"dbt parse: {done.stdout[-2000:]}")
    return time.monotonic() - began
