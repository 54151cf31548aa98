"""Entry point of every process in which dbt runs; only here dbt is imported.

    python -P -m mage_dbt.dbt.process run FOLDER           a cold worker, for one job
    python -P -m mage_dbt.dbt.process fork-server COMMIT   parses a commit and forks workers
    python -P -m mage_dbt.dbt.process ended FOLDER         ends what a run left in the warehouse
    python -P -m mage_dbt.dbt.process zygote NAME          imports dbt and forks the last two

The runner speaks through standard input and output, in JSON. dbt's own output goes to standard
error, and events to a file. Secrets are taken out of all of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mage_dbt.base import redaction
from mage_dbt.dbt import borders, fork_server, profile_secrets, zygote
from mage_dbt.dbt.invocation import arguments_of
from mage_dbt.dbt.jobs import do
from mage_dbt.dbt.parsing import NotParsed
from mage_dbt.dbt.plan.refusals import refusal
from mage_dbt.dbt.project import Project
from mage_dbt.dbt.sessions import name_sessions
from mage_dbt.home import Home
from mage_dbt.workers import partial_parse
from mage_dbt.workers.control_channel import ControlChannel
from mage_dbt.workers.job import Job


def main(arguments: list[str]) -> None:
    """Does what the arguments say (see above)."""
    profile_secrets.protect()
    borders.protect()
    if arguments[0] == "zygote":
        zygote.serve(arguments[1], _begin)
        return
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints to standard output must not break the protocol
    _begin(arguments, answer)


def _begin(words: Sequence[str], answer: IO[str]) -> None:
    kind, name = words[:2]
    # No secret of these is any of dbt's. But this process's user may read them, so its text may
    # hold them.
    redaction.hide_files_in(Home.around(Path.cwd()).secrets)
    if kind == "fork-server":
        fork_server.serve(answer)
    elif kind == "ended":
        # Imported here: it needs parts of dbt that another version may lack, and no run needs it.
        from mage_dbt.dbt import left

        answer.write(left.answer(Job.read(Path(name))) + "\n")
    else:
        _run(Job.read(Path(name)), answer)


def _run(job: Job, answer: IO[str]) -> None:
    control = ControlChannel()
    name_sessions(job.run, job.caller)
    target = job.folder / "target"
    target.mkdir(exist_ok=True)
    if not job.fresh:
        partial_parse.bring(job.parsed, target)
    arguments = arguments_of(job)
    borders.hold(arguments)
    try:
        do(job, Project.parse(arguments), control, answer)
    except NotParsed as error:
        kind = "machine" if error.by_machine else "parse"
        answer.write(profile_secrets.line(refusal(kind, str(error))))


if __name__ == "__main__":
    main(sys.argv[1:])
