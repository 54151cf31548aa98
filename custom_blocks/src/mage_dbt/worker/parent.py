"""The warm parent: parses one commit, then forks a child for each job it is told of.

It is a fork itself, of the fork server (`worker.fork_server`), or executed:

    python -P -m mage_dbt.worker.dbt_process warm COMMIT

Standard input is a socket of the runner that keeps messages apart. The first says what to parse
(`Task`); the answer is one line where it was told to answer. Every further message is a run's
folder, and forks its worker; see `worker.forks`. The worker hears its orders on standard input (see
`worker.orders`) and answers with its plan. It does not need the parent: it hears the runner itself.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import IO, Any

import dbt.adapters.factory

from mage_dbt.variables import to_yaml
from mage_dbt.worker import DESCRIBE, Job, profile_secrets
from mage_dbt.worker.describe import describe, pointers_read
from mage_dbt.worker.forker import LONGEST_MESSAGE
from mage_dbt.worker.forks import Forks, runner_socket, show_command
from mage_dbt.worker.orders import Orders
from mage_dbt.worker.packages import bring
from mage_dbt.worker.parent_process import Task
from mage_dbt.worker.project import QUIET, NotParsed, Project
from mage_dbt.worker.session import Session, arguments_of
from mage_dbt.worker.session_names import name_sessions


def serve(answer: IO[str]) -> None:
    """Parses what the first message says, answers, and forks until the socket ends."""
    runner = runner_socket()
    task = runner.recv(LONGEST_MESSAGE)
    if not task:
        return  # nobody wants it any more
    project, told = _parse(Task.from_bytes(task))
    answer.write(profile_secrets.line(told))
    answer.close()
    if project is None:
        return
    gc.collect()
    gc.freeze()  # a collection in a child must not write to, and so copy, the pages they share
    Forks(runner, lambda folder, plan: _be_run(project, Path(folder), plan)).serve()


def _parse(task: Task) -> tuple[Project | None, dict[str, Any]]:
    arguments = [*task.dbt_arguments, *QUIET]
    notes: list[str] = []
    if task.packages:
        where = Path(task.packages), Path.cwd()
        brought = bring(_without(arguments, "--target-path"), *where)
        if brought.failed:
            failed = "machine" if brought.by_machine else "packages"
            why = {"declared": list(brought.declared), "cause": brought.cause}
            return None, {"failed": failed, "message": brought.failed, **why}
        notes = brought.notes
    arguments += ["--vars", to_yaml(task.variables)]
    try:
        project = Project.parse(arguments, watch_clock=task.describe)
        # What was parsed stays: no collection from here on looks through all of it.
        gc.freeze()
        project.warm(arguments)
    except NotParsed as error:
        failed = "machine" if error.by_machine else "parse"
        return None, {"failed": failed, "message": str(error)}
    dbt.adapters.factory.reset_adapters()
    if not task.describe:
        return project, {"failed": ""}
    told = {
        "notes": [*notes, *project.differences],
        "clock": project.clock,
        "paths": project.read,
        "pointers": pointers_read(project),
        "graph": describe(project),
    }
    return project, {"failed": "", **told}


def _be_run(project: Project, folder: Path, answer: int) -> None:
    show_command("run", str(folder))
    os.chdir(folder)
    _carry(project, Job.read(folder), answer)


def _carry(project: Project, job: Job, answer: int) -> None:
    orders = Orders()
    name_sessions(job.run, job.caller)
    (job.folder / "target").mkdir(exist_ok=True)
    with os.fdopen(answer, "w", buffering=1) as told:
        if job.command == DESCRIBE:
            told.write(profile_secrets.line({"refused": "", **describe(project)}))
            return
        Session(job, project, arguments_of(job)).carry(
            lambda plan: told.write(profile_secrets.line(plan)), orders.wait_for_start
        )


def _without(arguments: list[str], flag: str) -> list[str]:
    if flag not in arguments:
        return arguments
    at = arguments.index(flag)
    return arguments[:at] + arguments[at + 2 :]
