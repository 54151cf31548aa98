"""Who refreshes: ours through the runner, dbt's command line, and SQLMesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mage_dbt.launcher.environments import SQLMESH
from mage_dbt.model.refresh import RefreshStep, Step
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from mage_dbt_bench.contender import BuildFailed, Built
from mage_dbt_bench.contenders.command_line import CommandLine
from mage_dbt_bench.contenders.peer import Peer
from mage_dbt_bench.refresh.project import (
    VERSIONS,
    WARM,
    generate_sqlmesh,
    write_sqlmesh_model,
)
from mage_dbt_bench.refresh.readers import Relation, State
from mage_dbt_bench.stack import Stack

COMPARE_SECONDS = "REFRESH_COMPARE_SECONDS"


@dataclass(frozen=True)
class Refreshed:
    """One full refresh, over and passed."""

    built: Built
    lock_seconds: float | None = None
    """What it says of its own lock, where it says anything."""
    compare_seconds: float | None = None


class Refresher(Protocol):
    """One way to a full refresh, of a table that is its own."""

    name: str
    what: str
    table: Relation

    def prepare(self, first: State) -> None:
        """Starts what stays running, and builds the table for the first time."""

    def get_ready(self) -> None:
        """What the next refresh needs and is not its work; unmeasured."""

    def refresh(self, new: State) -> Refreshed:
        """Rebuilds all rows. Raises BuildFailed when it did not pass."""

    def close(self) -> None:
        """Ends what `prepare` started."""


class Stock:
    """`dbt run --full-refresh`, a process each time, as people type it."""

    def __init__(self, name: str, stack: Stack, project: Path) -> None:
        self.name = name
        self.what = "dbt run --full-refresh, a process each time, partial parse warm."
        self.table = Relation("analytics", name)
        self._stack = stack
        self._dbt = CommandLine(name, self.what, stack, project, ("--full-refresh",), command="run")

    def prepare(self, first: State) -> None:
        self.refresh(first)

    def get_ready(self) -> None:
        """Each refresh's process starts with it."""

    def refresh(self, new: State) -> Refreshed:
        set_version(self._stack, self.name, new)
        return Refreshed(self._dbt.build(self.name))

    def close(self) -> None:
        self._dbt.close()


class Ours:
    """The operation `full_refresh`, as a run through the runner."""

    def __init__(self, name: str, stack: Stack, compares: bool) -> None:
        self.name = name
        self.what = "Our full_refresh through the runner: aside, checked, swapped, kept" + (
            ", and compared before the swap." if compares else "; REFRESH_COMPARE_SECONDS=0."
        )
        self.table = Relation("analytics", name)
        self._stack = stack
        self._seconds = "120" if compares else "0"

    def prepare(self, first: State) -> None:
        set_version(self._stack, self.name, first)
        self._run({"operation": "build", "models": self.name})

    def get_ready(self) -> None:
        if self._stack.runner_settings.get(COMPARE_SECONDS) != self._seconds:
            self._stack.restart_runner({COMPARE_SECONDS: self._seconds})
            self._run({"operation": "build", "models": WARM})

    def refresh(self, new: State) -> Refreshed:
        set_version(self._stack, self.name, new)
        built, run = self._run({"operation": "full_refresh", "models": self.name})
        steps = {step.step: step for step in run.refresh}
        if Step.SWAPPED not in steps:
            raise BuildFailed(f"{self.name}: run {run.id} has swapped nothing")
        return Refreshed(built, steps[Step.SWAPPED].lock_seconds, _compared(steps))

    def close(self) -> None:
        """The stack ends the runner."""

    def _run(self, asked: dict[str, str]) -> tuple[Built, Run]:
        return run(self._stack, {**asked, "why": "to be measured"})


class SqlMesh:
    """`plan` with another version of the model, applied at once."""

    def __init__(self, name: str, stack: Stack, project: Path) -> None:
        self.name = name
        self.what = "SQLMesh: plan and apply, in a process that stays."
        self.table = Relation("mesh", name)
        self._project = project
        self._peer = Peer(name, self.what, stack, SQLMESH, "with_sqlmesh", project)

    def prepare(self, first: State) -> None:
        generate_sqlmesh(self._project)
        self._peer.prepare()
        self.refresh(first)

    def get_ready(self) -> None:
        """Its process stays."""

    def refresh(self, new: State) -> Refreshed:
        write_sqlmesh_model(self._project, str(self.table), new)
        return Refreshed(self._peer.build(self.name))

    def close(self) -> None:
        self._peer.close()


def run(stack: Stack, asked: dict[str, str]) -> tuple[Built, Run]:
    """A run through the runner. Raises BuildFailed when it did not pass."""
    submitted = stack.client.submit(Request.parse({**asked, "cause": "tool", "caller": "bench"}))
    for _ in stack.client.follow(submitted.id, lambda text: None):
        continue  # until its final state, as it happens and without asking
    run = stack.client.run(submitted.id)
    if run.state is not RunState.SUCCESS:
        raise BuildFailed(f"run {run.id}: {run.state} {run.detail}")
    began = submitted.asked_at.timestamp()
    assert run.finished_at is not None
    return Built(began, run.finished_at.timestamp()), run


def set_version(stack: Stack, name: str, new: State) -> None:
    """What the model of that name will read."""
    with stack.warehouse() as connection:
        connection.execute(
            f"merge into {VERSIONS} as known using (values (%s, %s::int, %s::int))"
            " as new (name, version, rows) on known.name = new.name"
            " when matched then update set version = new.version, rows = new.rows"
            " when not matched then insert values (new.name, new.version, new.rows)".encode(),
            (name, new.version, new.rows),
        )


def _compared(steps: dict[Step, RefreshStep]) -> float | None:
    step = steps.get(Step.COMPARED)
    return step.comparison.seconds if step and step.comparison else None
