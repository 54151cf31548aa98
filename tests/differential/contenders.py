"""The ways of running dbt that have to agree: the plain command line, and our workers.

Each has a warehouse of its own, under the same name: a database is given the name `warehouse` while
its owner works in it, so that nothing in SQL, messages or rows has to be made alike afterwards. The
command line has a server of its own too, and works at the same time as the workers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg

from mage_dbt.commits.graph_key import SHORTCUTS, dbt_environment
from mage_dbt.commits.profile import EMBEDDED, EMBEDDED_TARGET
from mage_dbt.errors import BadSelection, RequestError
from mage_dbt.launcher.database_roles import WAREHOUSE
from mage_dbt.model.reason import words_first
from mage_dbt.settings import CHECKOUT
from mage_dbt.workers.job import EVENTS_FILE, Job
from mage_dbt.workers.worker import Worker
from tests.differential import warehouse_state
from tests.differential.behaviours import Step
from tests.differential.outcome import Outcome, plain, read_folder
from tests.harness.database import Database
from tests.harness.waiting import wait_until

STEP_SECONDS = 600.0

PRISTINE = "pristine"

MATCHES_NOTHING = ("Nothing to do.", "does not match any enabled nodes")

NAMED = ("exposure.", "saved_query.")
"""Nodes that dbt names in its results, and does nothing with."""

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
"""Of this process's environment, what dbt gets: tests must not depend on the rest."""


Program = Callable[[list[str], Mapping[str, str], Path, Path], int]
"""Runs dbt with these arguments, this environment, in this folder, its output in this file."""


def installed_dbt(words: list[str], environ: Mapping[str, str], folder: Path, output: Path) -> int:
    """The program `dbt` of this environment, as a person starts it."""
    with output.open("ab") as file:
        return subprocess.run(
            [str(Path(sys.executable).with_name("dbt")), *words],
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=STEP_SECONDS,
            check=False,
        ).returncode


@dataclass(frozen=True)
class Prepared:
    """One commit of a behaviour's project, parsed as the workspace parses a commit."""

    project: Path
    parsed: Path


class Server(Database):
    """A server of a contender's own: a database by its name, which is the warehouse meanwhile."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "home")
        self.start()
        self.postgres.prepare_warehouse()
        self.admin("alter database {} rename to {}", WAREHOUSE, PRISTINE)
        self.environ = self.postgres.warehouse_environment()
        self.profiles = folder / "profiles"
        shutil.copytree(CHECKOUT / "dbt" / "profiles", self.profiles)

    def make(self, name: str) -> None:
        self.admin("create database {} template {} owner dbt", name, PRISTINE)

    def drop(self, name: str) -> None:
        self.admin("drop database {} with (force)", name)

    @contextmanager
    def warehouse(self, name: str) -> Iterator[str]:
        """The database `name` is the warehouse; gives its URL for the role that owns it."""
        self.admin("alter database {} rename to {}", name, WAREHOUSE)
        try:
            yield self.url("dbt")
        finally:
            self._rename_when_left(name)

    def arguments(self) -> tuple[str, ...]:
        """dbt's flags for the profile."""
        profiles = ("--profiles-dir", str(self.profiles))
        return (*profiles, "--profile", EMBEDDED, "--target", EMBEDDED_TARGET)

    def _rename_when_left(self, name: str) -> None:
        def probe() -> bool | str:
            try:
                self.admin("alter database {} rename to {}", WAREHOUSE, name)
            except psycopg.errors.ObjectInUse as error:
                return str(error)
            return True

        wait_until("every session to have left the warehouse", probe)


@dataclass
class Contender:
    """One way of running dbt, on a warehouse of its own."""

    name: str
    server: Server
    folder: Path
    steps: int = 0
    last: Outcome = field(default_factory=Outcome)

    def do(self, step: Step, commit: Prepared, environ: Mapping[str, str]) -> Outcome:
        """Runs the step; `environ` is all that dbt may find in its environment."""
        self.steps += 1
        folder = self.folder / f"{self.name}-{self.steps}"
        folder.mkdir(parents=True)
        with self.server.warehouse(self.database) as url:
            if step.sql:
                with psycopg.connect(url) as connection:
                    connection.execute(step.sql.encode())
            found = self._run(step, commit, folder, environ)
            if step.again:  # `dbt retry` has other words for what a worker is asked by node
                found = replace(found, arguments={})
            elif found.commanded:
                self._says_what_was_asked(step, found.commanded)
            if step.fails_fast:  # what is under way at the failure ends as it happens to
                found = replace(found, log=())
            self.last = replace(found, state=warehouse_state.read(url))
        return self.last

    def _says_what_was_asked(self, step: Step, commanded: str) -> None:
        """The command line in the results is one that does the step, whoever has run it."""
        words = commanded.split()
        asked = " ".join([*selection(step), *step.flags])
        assert words[:2] == ["dbt", step.command] and commanded.endswith(asked), commanded

    @property
    def database(self) -> str:
        return f"{self.folder.name}_{self.name}"

    def _run(
        self, step: Step, commit: Prepared, folder: Path, environ: Mapping[str, str]
    ) -> Outcome:
        raise NotImplementedError


@dataclass
class CommandLine(Contender):
    """`dbt …` with an empty target folder: nothing parsed before."""

    program: Program = field(kw_only=True)

    def _run(
        self, step: Step, commit: Prepared, folder: Path, environ: Mapping[str, str]
    ) -> Outcome:
        target = folder / "target"
        words = ["--project-dir", str(commit.project), *self.server.arguments()]
        words += ["--target-path", str(target), "--log-path", str(folder / "logs")]
        words += [
            "--no-use-colors",
            "--no-version-check",
            "--vars",
            json.dumps(dict(step.variables)),
        ]
        if step.again:
            before = self.folder / f"{self.name}-{self.steps - 1}" / "target"
            words = ["retry", *words, "--state", str(before)]
        else:
            words = [step.command, *words, *selection(step), *step.flags]
        output = folder / "output.log"
        given = dbt_environment({**environ, **self.server.environ})
        status = self.program(words, given, folder, output)
        said = output.read_text()
        return Outcome(
            refused=said if status == 2 else "",
            matched=not any(words in said for words in MATCHES_NOTHING),
            success=status == 0,
            **read_folder(folder, one_at_a_time(step)),
        )


@dataclass
class WorkerContender(Contender):
    """One of our workers, asked through the interface that the runner uses."""

    shortcuts: bool = True
    """Whether functions of dbt are replaced to save time (`dbt/patches`)."""
    make: Callable[[Job], Worker] = field(kw_only=True)

    def _run(
        self, step: Step, commit: Prepared, folder: Path, environ: Mapping[str, str]
    ) -> Outcome:
        nodes = self.last.unfinished() if step.again else []
        job = Job(
            folder=folder,
            commit="0" * 40,
            project=commit.project,
            parsed=commit.parsed,
            dbt_arguments=("--project-dir", str(commit.project), *self.server.arguments()),
            command=step.command,
            select=step.select,
            exclude=step.exclude,
            flags=step.flags,
            variables=step.variables,
            caller="test",
            nodes=dict.fromkeys(nodes, "it did not pass"),
            target=EMBEDDED_TARGET,
        )
        with only_environment(
            {**environ, **self.server.environ, SHORTCUTS: str(self.shortcuts).lower()}
        ):
            worker = self.make(job)
            try:
                plan = worker.plan()
            except RequestError as error:
                worker.close()
                return Outcome(error.message, matched=not isinstance(error, BadSelection))
            try:
                worker.start()
                self._wait(worker)
            finally:
                worker.stop()
                worker.close()
        # A fallback would pass, and prove nothing of the warm one.
        how = getattr(worker, "how", "cold")
        assert how == self.name, how
        found = read_folder(folder, one_at_a_time(step))
        told = plain((folder / EVENTS_FILE).read_text(), folder / "target")
        events = [json.loads(line) for line in told.splitlines()]
        # A `compile` that failed ends while other nodes are still being compiled.
        ends = [one for one in events if one["kind"] == "end"]
        assert len(ends) == 1, worker.ending()
        if found["nodes"]:  # a `compile` that fails writes no results
            finished = [one for one in events if one["kind"] == "node_finished"]
            different = differently_told(finished, found["nodes"])
            assert not different, different
        planned = {one.node for one in plan.nodes}
        ran = {one for one in found["nodes"] if not one.startswith(("operation.", *NAMED))}
        assert ran <= planned, f"run without being planned: {ran - planned}"
        return Outcome(ends[0]["message"], success=ends[0]["success"], **found)

    def _wait(self, worker: Worker) -> None:
        wait_until("the worker to end", lambda: not worker.alive() or "it is at work", STEP_SECONDS)


def differently_told(
    told: Iterable[Mapping[str, Any]], nodes: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """By node, what the ledger is told and what run_results.json says, where it is not the same.

    Of what dbt only names the ledger holds nothing, and run_results.json of an ephemeral model.
    Of failed batches the ledger also holds the reason, which dbt has in its log alone, and of
    errors what repairs them.
    """
    ours = {
        one["node"]: {name: one[name] for name in ("status", "message", "rows", "relation")}
        for one in told
        if one["node"] in nodes
    }
    results = {
        one: {
            "status": facts["status"],
            "message": facts.get("message", ""),
            "rows": _rows(one, facts),
            # dbt's results do not say where a seed is; the ledger does.
            "relation": facts.get("relation_name", ours.get(one, {}).get("relation", ""))
            if one.startswith("seed.")
            else facts.get("relation_name", ""),
        }
        for one, facts in nodes.items()
        if not one.startswith(NAMED)
    }
    for node, facts in ours.items():
        by_dbt = results[node]["message"]
        if _tells(facts["message"], by_dbt):
            facts["message"] = by_dbt
    return {
        one: (ours.get(one), results.get(one))
        for one in ours.keys() | results.keys()
        if ours.get(one) != results.get(one)
    }


def _tells(told: str, by_dbt: str) -> bool:
    """Whether a reason in the ledger is dbt's message, whole, with the words first that it quotes;
    what we add comes after an empty line, and a batch's reason before dbt's word on all of them."""
    whole = words_first(by_dbt)
    batch = told.startswith("batch ") and by_dbt in ("ERROR", told.rsplit("\n\n", 1)[-1])
    return told == whole or bool(whole and told.startswith(f"{whole}\n\n")) or batch


def _rows(node: str, facts: Mapping[str, Any]) -> int | None:
    """What the ledger holds as a node's rows: a test's failures, and of others those written."""
    if node.startswith(("test.", "unit_test.")):
        return facts.get("failures")
    # A text where dbt leaves a materialized view as it is.
    rows = str(facts.get("adapter_response", {}).get("rows_affected", ""))
    return int(rows) if rows.isdigit() else None


def selection(step: Step) -> list[str]:
    words: list[str] = []
    words += ["--select", *step.select] if step.select else []
    words += ["--exclude", *step.exclude] if step.exclude else []
    return words


def one_at_a_time(step: Step) -> bool:
    """Of a flag that is given twice dbt takes the last."""
    given = [value for flag, value in pairwise(step.flags) if flag == "--threads"]
    return given[-1:] == ["1"]


def base_environment() -> dict[str, str]:
    """What dbt gets of this process's environment."""
    return {name: value for name, value in os.environ.items() if name in PASSED_ON}


@contextmanager
def only_environment(environ: Mapping[str, str]) -> Iterator[None]:
    """This process's environment is `environ`, for a worker that is started in it."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def prepare(tree: Path, folder: Path, server: Server, program: Program) -> Prepared:
    """Makes a commit ready: its packages, and what dbt leaves when it has parsed it."""
    parsed = folder / "target"
    words = ["--project-dir", str(tree), *server.arguments(), "--log-path", str(folder / "logs")]
    folder.mkdir(parents=True)
    declared = any((tree / one).exists() for one in ("packages.yml", "dependencies.yml"))
    steps = [["deps", *words]] if declared else []
    for step in (*steps, ["parse", *words, "--target-path", str(parsed)]):
        given = dbt_environment({**base_environment(), **server.environ})
        status = program(step, given, folder, folder / "output.log")
        assert status == 0, (folder / "output.log").read_text()
    return Prepared(tree, parsed)
