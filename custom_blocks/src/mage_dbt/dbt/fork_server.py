"""The fork server: it parses one commit, then forks a worker for each run of it.

It is forked from a zygote, or executed:

    python -P -m mage_dbt.dbt.process fork-server COMMIT

Standard input is a socket of the runner that keeps message boundaries. The first message says what
to parse (`Task`); the answer is one line. Each further message is a run's folder and forks its
worker (`dbt/forks.py`). The worker has its own control channel, and answers with its plan. It does
not need the fork server any more.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import IO, Any

import dbt.adapters.factory

from mage_dbt.base.redaction import hide_files_in
from mage_dbt.commits.broken import OUTSIDE
from mage_dbt.commits.links import INSTEAD
from mage_dbt.dbt import borders, profile_secrets
from mage_dbt.dbt.describe import describe, pointers_read
from mage_dbt.dbt.forks import Forks, runner_socket, show_command
from mage_dbt.dbt.graph_json import graph_json
from mage_dbt.dbt.jobs import do
from mage_dbt.dbt.packages import bring
from mage_dbt.dbt.parsing import NotParsed
from mage_dbt.dbt.project import QUIET, Project
from mage_dbt.dbt.sessions import name_sessions
from mage_dbt.home import Home
from mage_dbt.model.variables import to_yaml
from mage_dbt.workers.control_channel import ControlChannel
from mage_dbt.workers.fork_server import Task
from mage_dbt.workers.forker import LONGEST_MESSAGE
from mage_dbt.workers.job import Job


def serve(answer: IO[str]) -> None:
    """Parses what the first message says, answers, and forks until the socket ends."""
    runner = runner_socket()
    task = runner.recv(LONGEST_MESSAGE)
    if not task:
        return  # nobody wants it any more
    project, parsed = _parse(Task.from_bytes(task))
    answer.write(profile_secrets.line(parsed))
    answer.close()
    if project is None:
        return
    gc.collect()
    gc.freeze()  # a collection in a child must not write to, and so copy, the pages they share
    Forks(runner, lambda folder, pipe: _be_worker(project, Path(folder), pipe)).serve()


def _parse(task: Task) -> tuple[Project | None, dict[str, Any]]:
    """The project, if dbt could parse it, and the answer."""
    arguments = [*task.dbt_arguments, *QUIET]
    borders.hold(arguments)
    notes: list[str] = []
    if task.packages:
        without_target = _without(arguments, "--target-path")
        brought = bring(without_target, Path(task.packages), Path.cwd())
        if brought.outside:
            return None, _outside(brought.failed, borders.HINT)
        if brought.failed:
            failed = "machine" if brought.by_machine else "packages"
            why = {"declared": list(brought.declared), "cause": brought.cause}
            return None, {"failed": failed, "message": brought.failed, **why}
        if found := borders.links_brought():
            return None, _outside(found, INSTEAD)
        notes = brought.notes
    arguments += ["--vars", to_yaml(task.variables)]
    try:
        project = Project.parse(arguments, watch_clock=task.describe)
        # The manifest stays: no collection from here on looks through all of it.
        gc.freeze()
        project.warm(arguments)
    except NotParsed as error:
        if error.outside:
            return None, _outside(str(error), borders.HINT)
        failed = "machine" if error.by_machine else "parse"
        return None, {"failed": failed, "message": str(error)}
    dbt.adapters.factory.reset_adapters()
    if not task.describe:
        return project, {"failed": ""}
    return project, {
        "failed": "",
        "notes": [*notes, *project.differences],
        "clock": project.clock,
        "paths": project.read,
        "pointers": pointers_read(project),
        "graph": describe(project),
        "graph_json": graph_json(project),
    }


def _outside(message: str, hint: str) -> dict[str, Any]:
    return {"failed": OUTSIDE, "message": message, "hint": hint}


def _be_worker(project: Project, folder: Path, pipe: int) -> None:
    show_command("run", str(folder))
    os.chdir(folder)
    hide_files_in(Home.around(folder).secrets)  # as they are now: the commit may be an old one
    job = Job.read(folder)
    control = ControlChannel()
    name_sessions(job.run, job.caller)
    (job.folder / "target").mkdir(exist_ok=True)
    with os.fdopen(pipe, "w", buffering=1) as answer:
        do(job, project, control, answer)


def _without(arguments: list[str], flag: str) -> list[str]:
    if flag not in arguments:
        return arguments
    at = arguments.index(flag)
    return arguments[:at] + arguments[at + 2 :]
