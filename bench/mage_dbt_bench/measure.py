"""The measuring: every contender in turn, round after round, on one project in one run.

Each round builds the same model once with each contender, in an order that turns by one each round,
so that whatever else the machine does meets all of them. The first round warms and is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import psutil

from mage_dbt.errors import WorkspaceError
from mage_dbt.launcher.progress import Progress
from mage_dbt_bench.contender import BuildFailed, Contender
from mage_dbt_bench.results import Measured
from mage_dbt_bench.sql_log import SqlLog
from mage_dbt_bench.stack import Stack
from mage_dbt_bench.usage import PeakMemory, tree


class Measuring:
    """Measures contenders; one that fails is left out, with the reason, and the others go on."""

    def __init__(self, log: SqlLog, stack: Stack, progress: Progress) -> None:
        self._log = log
        self._stack = stack
        self._model = stack.project.measured
        self._progress = progress
        self.measured: dict[str, Measured] = {}
        self.left_out: dict[str, str] = {}

    def prepare(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Prepares each and has it build the model once; gives those that did."""
        ready = []
        for one in contenders:
            try:
                with self._progress.during(f"preparing {one.name}"):
                    one.prepare()
                    self.one(one, Measured.of(one))
            except (BuildFailed, WorkspaceError, OSError) as error:
                self._leave_out(one, error)
                continue
            self.measured[one.name] = Measured.of(one)
            ready.append(one)
            self._progress.say(f"{one.name} is ready")
        return ready

    def models(self, contenders: Sequence[Contender], repeats: int) -> None:
        """`repeats` rounds of one model and its tests."""
        for number in range(repeats):
            at = number % len(contenders)
            for one in (*contenders[at:], *contenders[:at]):
                self.one(one, self.measured[one.name])
            self._progress.say(f"round {number + 1} of {repeats} is over")

    def full_builds(self, contenders: Sequence[Contender]) -> None:
        """One build of everything with each contender that can."""
        for one in contenders:
            if one.builds_all:
                continue
            measured = self.measured[one.name]
            before = one.cpu()
            try:
                with PeakMemory(partial(self._processes, one)) as memory:
                    built = one.build(None)
            except BuildFailed as error:
                measured.full_build_left_out = str(error)
                self._progress.say(f"{one.name}: {error}")
                continue
            measured.full_build.append(built.over - built.began)
            measured.full_build_cpu.append(one.cpu() - before)
            measured.memory = memory.peak
            self._progress.say(f"{one.name} built everything in {built.over - built.began:.1f} s")

    def one(self, contender: Contender, measured: Measured) -> None:
        """Has a contender build the model once, and adds what it took. Raises BuildFailed."""
        self._log.mark()
        before = contender.cpu()
        built = contender.build(self._model)
        created = self._log.created(self._model)
        if created is None or created < built.began - 0.001:
            raise BuildFailed(
                f"{contender.name}: PostgreSQL's log shows no CREATE of {self._model}"
            )
        measured.to_sql.append(max(0.0, created - built.began))
        measured.wall.append(built.over - built.began)
        measured.cpu.append(contender.cpu() - before)

    def _leave_out(self, contender: Contender, error: Exception) -> None:
        reason = str(error).strip()
        self.left_out[contender.name] = reason
        self._progress.say(f"{contender.name} is left out: {reason}")
        contender.close()

    def _processes(self, contender: Contender) -> dict[str, list[psutil.Process]]:
        """The workspace's, and those that the contender has beside them."""
        groups = self._stack.processes()
        known = {one.pid for processes in groups.values() for one in processes}
        own = [one for pid in contender.pids() for one in tree(pid) if one.pid not in known]
        return {**groups, contender.name: own} if own else groups
