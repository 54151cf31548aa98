"""The process in which dbt runs: `run` carries one job, `warm` keeps a commit ready for many.

Only here is dbt imported. The runner speaks through standard input and output, one JSON line each;
dbt's own output goes to standard error. Events are appended to a file, with secrets taken out.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import IO

from mage_dbt.worker import DESCRIBE, Job, parent
from mage_dbt.worker.describe import describe
from mage_dbt.worker.orders import Orders
from mage_dbt.worker.project import NotParsed, Project
from mage_dbt.worker.session import Session, arguments_of, refusal
from mage_dbt.worker.session_names import name_sessions


def main(arguments: list[str]) -> None:
    """Entry point: `run FOLDER` for one job, `warm COMMIT` for a parent; see `worker.parent`."""
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints to standard output must not break the protocol
    if arguments[0] == "warm":
        parent.serve(answer)
    else:
        _run(Job.read(Path(arguments[1])), answer)


def _run(job: Job, answer: IO[str]) -> None:
    orders = Orders()
    name_sessions(job.run, job.caller)
    target = job.folder / "target"
    target.mkdir(exist_ok=True)
    partial_parse = job.parsed / "partial_parse.msgpack"
    if partial_parse.exists() and not job.fresh:
        shutil.copy(partial_parse, target)
    common = arguments_of(job)
    try:
        project = Project.parse(common)
        if job.command == DESCRIBE:
            project.warm(common)
            answer.write(json.dumps({"refused": "", **describe(project)}) + "\n")
            return
    except NotParsed as error:
        answer.write(json.dumps(refusal("parse", str(error))) + "\n")
        return
    Session(job, project, common).carry(
        lambda plan: answer.write(json.dumps(plan) + "\n"), orders.wait_for_start
    )


if __name__ == "__main__":
    main(sys.argv[1:])
