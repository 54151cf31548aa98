"""The process in which dbt runs: `run` carries one job, `warm` keeps a commit ready for many,
`ended` looks for what a run has left in the warehouse, and `fork-server` has only imported dbt, for
the last two.

Only here is dbt imported. The runner speaks through standard input and output, one JSON line each;
dbt's own output goes to standard error. Events are appended to a file, with secrets taken out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mage_dbt.worker import DESCRIBE, Job, fork_server, parent, partial_parse, profile_secrets
from mage_dbt.worker.describe import describe
from mage_dbt.worker.orders import Orders
from mage_dbt.worker.project import NotParsed, Project
from mage_dbt.worker.session import Session, arguments_of, refusal
from mage_dbt.worker.session_names import name_sessions


def main(arguments: list[str]) -> None:
    """Entry point: `run FOLDER` for one job, `warm COMMIT` for a parent (`worker.parent`), `ended
    FOLDER` for what is left of a job (`worker.left_sessions`), and `fork-server NAME`
    (`worker.fork_server`)."""
    profile_secrets.protect()
    if arguments[0] == "fork-server":
        fork_server.serve(arguments[1], _begin)
        return
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints to standard output must not break the protocol
    _begin(arguments, answer)


def _begin(words: Sequence[str], answer: IO[str]) -> None:
    what, name = words[:2]
    if what == "warm":
        parent.serve(answer)
    elif what == "ended":
        # Only then: it takes of dbt what another version may not have, and a run needs none of it.
        from mage_dbt.worker import left_sessions

        answer.write(left_sessions.answer(Job.read(Path(name))) + "\n")
    else:
        _run(Job.read(Path(name)), answer)


def _run(job: Job, answer: IO[str]) -> None:
    orders = Orders()
    name_sessions(job.run, job.caller)
    target = job.folder / "target"
    target.mkdir(exist_ok=True)
    if not job.fresh:
        partial_parse.bring(job.parsed, target)
    common = arguments_of(job)
    try:
        project = Project.parse(common)
        if job.command == DESCRIBE:
            project.warm(common)
            answer.write(profile_secrets.line({"refused": "", **describe(project)}))
            return
    except NotParsed as error:
        what = "machine" if error.by_machine else "parse"
        answer.write(profile_secrets.line(refusal(what, str(error))))
        return
    Session(job, project, common).carry(
        lambda plan: answer.write(profile_secrets.line(plan)), orders.wait_for_start
    )


if __name__ == "__main__":
    main(sys.argv[1:])
