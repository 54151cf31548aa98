"""What each process does in which dbt runs, once dbt is imported; `process.py` has the kinds."""

from __future__ import annotations

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


def protect() -> None:
    """Guards dbt in this process and its forks. Raises AttributeError where this dbt is another
    one and lacks what is guarded."""
    profile_secrets.protect()
    borders.protect()


def serve_zygote(name: str) -> None:
    """Forks the processes that `run_kind` is for."""
    zygote.serve(name, run_kind)


def run_kind(words: Sequence[str], answer: IO[str]) -> None:
    """Does what a process's arguments say, and writes its answer."""
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
