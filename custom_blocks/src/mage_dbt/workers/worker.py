"""The worker: one run of dbt in a process of its own, as the runner sees it.

A worker plans a job: dbt parses the commit and answers the selection. Then it waits. At its turn it
executes what it planned and appends what happens to `events.jsonl` in the run's folder. That file
outlives the runner, so a restart loses nothing that dbt had reported.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from contextlib import suppress
from typing import Any, Protocol

from mage_dbt.base.redaction import hide
from mage_dbt.commits.broken import UNFIT
from mage_dbt.commits.graph_key import dbt_environment
from mage_dbt.errors import BadSelection, DbtUnfit, RequestError, Unavailable, WorkspaceError
from mage_dbt.model.parse_warnings import ParseWarnings
from mage_dbt.model.plan import Plan, PlannedNode
from mage_dbt.model.refresh import Preview
from mage_dbt.workers.child_process import Started, how_ended
from mage_dbt.workers.control_channel import LEASE, START, SWAP
from mage_dbt.workers.job import Job

INTERRUPT_SECONDS = 2.5
"""dbt cancels its queries within 20 ms of SIGINT (measured); the rest is for a busy machine."""

TERMINATE_SECONDS = 1.5

KILL_SECONDS = 10.0

LOG_FILE = "worker.log"

REFUSALS = {"selection": BadSelection, "machine": Unavailable, UNFIT: DbtUnfit}
"""The error for what a worker's refusal is due to; otherwise RequestError."""


class Worker(Protocol):
    """A job's worker. Call plan, keep_lease, start and close in this order, stop at any time."""

    how: str
    """After `plan`: `warm`, or `cold`, with the reason behind a colon where there is one."""

    def plan(self) -> Plan:
        """What will run. Raises RequestError when dbt refuses the job, WorkspaceError otherwise."""

    def keep_lease(self, descriptor: int) -> None:
        """Has the worker keep this descriptor open until its own end."""

    def start(self) -> None:
        """Executes the plan; what happens is appended to the events file."""

    def swap(self) -> None:
        """Lets a refresh that holds for a decision go on to its swap."""

    def alive(self) -> bool:
        """Whether dbt is still at work."""

    def stop(self) -> None:
        """Ends dbt and its SQL, gently first; returns when it is gone, within 5 s."""

    def ending(self) -> str:
        """How dbt's process ended, in words, once it is not alive."""

    def close(self) -> None:
        """Waits for the end and closes what was open."""


class ProcessWorker:
    """See `Worker`. The child leads a process group, so a stop reaches all of it."""

    def __init__(self, job: Job, started: Started) -> None:
        self._job = job
        self._child = started.process
        self._control = started.connection
        self._answer = started.answer
        self._stopped = False

    @property
    def pid(self) -> int:
        return self._child.pid

    def plan(self) -> Plan:
        answer = self._first_answer()
        return Plan(
            commit=self._job.commit,
            nodes=PlannedNode.all_from_json(answer["nodes"]),
            warnings=tuple(answer["warnings"]),
            notes=(*self._job.notes, *answer["notes"]),
            command=self._job.command,
            flags=self._job.flags,
            variables=self._job.variables,
            target=self._job.target,
            threads=answer["threads"],
            hooks=answer["hooks"],
            parse_warnings=ParseWarnings.from_json(answer["parse_warnings"]),
            refresh=tuple(Preview.from_json(item) for item in answer["refresh"]),
        )

    def describe(self) -> dict[str, Any]:
        """The answer to a job that runs nothing: its command is `DESCRIBE`, `SURVEY` or `DOCS`."""
        return self._first_answer()

    def _first_answer(self) -> dict[str, Any]:
        line = self._answer.readline()
        if not line:
            code = self._child.wait()
            raise WorkspaceError(
                f"dbt's process ended before it had planned ({how_ended(code)}).",
                f"Its last words: {self._last_words()}",
            )
        answer: dict[str, Any] = json.loads(line)
        hide(*answer.pop("secrets"))
        if answer["refused"]:
            self.stop()
            error = REFUSALS.get(answer["refused"], RequestError)
            raise error(answer["message"], answer["hint"])
        return answer

    def keep_lease(self, descriptor: int) -> None:
        with suppress(OSError):  # it is dead, and keeps nothing
            socket.send_fds(self._control, [LEASE], [descriptor])

    def start(self) -> None:
        with suppress(OSError):  # it died while it waited: `alive` and `ending` show that
            self._control.sendall(START)

    def swap(self) -> None:
        with suppress(OSError):
            self._control.sendall(SWAP)

    def alive(self) -> bool:
        return self._child.poll() is None

    @property
    def killed(self) -> bool:
        """Whether a signal that was not ours ended its process."""
        return not self._stopped and (self._child.poll() or 0) < 0

    def stop(self) -> None:
        if self._child.poll() is not None:
            return  # its number may already be another process's
        self._stopped = True
        for number, seconds in (
            (signal.SIGINT, INTERRUPT_SECONDS),
            (signal.SIGTERM, TERMINATE_SECONDS),
            (signal.SIGKILL, KILL_SECONDS),
        ):
            try:
                os.killpg(self._child.pid, number)
            except ProcessLookupError:
                break
            try:
                self._child.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue

    def close(self) -> None:
        """Waits for the child and closes what was open."""
        self._control.close()
        self._answer.close()
        self._child.wait()

    def ending(self) -> str:
        """How the process ended, in words, with the end of its log."""
        return f"{how_ended(self._child.wait())}. {self._last_words()}".strip()

    def _last_words(self) -> str:
        lines = (self._job.folder / LOG_FILE).read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-5:]) or "none."


class ColdWorker(ProcessWorker):
    """A worker in a new process, which imports dbt, parses, plans, and runs."""

    how = "cold"

    def __init__(self, job: Job) -> None:
        job.write()
        words = ("run", str(job.folder))
        with (job.folder / LOG_FILE).open("ab") as log:
            started = Started.executed(words, job.folder, dbt_environment(os.environ), log)
        super().__init__(job, started)
