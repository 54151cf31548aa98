"""A worker whose dbt runs in a process of its own, however that process came to be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from contextlib import suppress
from typing import Any

from mage_dbt.errors import BadSelection, RequestError, Unavailable, WorkspaceError
from mage_dbt.parse_warnings import ParseWarnings
from mage_dbt.plan import Plan, PlannedNode
from mage_dbt.redaction import hide
from mage_dbt.worker import Job
from mage_dbt.worker.child import how_ended
from mage_dbt.worker.orders import HOLD, START
from mage_dbt.worker.started import Started

INTERRUPT_SECONDS = 2.5
"""dbt cancels its queries within 20 ms of SIGINT (measured); the rest is for a busy machine."""

TERMINATE_SECONDS = 1.5

LOG_FILE = "worker.log"


REFUSALS = {"selection": BadSelection, "machine": Unavailable}
"""Whose fault it is that a worker refuses its job; else the request's."""


class ProcessWorker:
    """See `Worker`. The child leads a process group, so a stop reaches all of it."""

    def __init__(self, job: Job, started: Started) -> None:
        self._job = job
        self._child = started.process
        self._orders = started.connection
        self._answer = started.answer
        self._stopped = False

    @property
    def pid(self) -> int:
        return self._child.pid

    def plan(self) -> Plan:
        answer = self._first_answer()
        return Plan(
            commit=self._job.commit,
            nodes=tuple(PlannedNode.from_json(one) for one in answer["nodes"]),
            warnings=tuple(answer["warnings"]),
            notes=(*self._job.notes, *answer["notes"]),
            command=self._job.command,
            flags=self._job.flags,
            variables=self._job.variables,
            target=self._job.target,
            threads=answer["threads"],
            hooks=answer["hooks"],
            parse_warnings=ParseWarnings.from_json(answer["parse_warnings"]),
        )

    def describe(self) -> dict[str, Any]:
        """For a job whose command is `DESCRIBE`: its answer, see `worker.describe`."""
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

    def hold(self, descriptor: int) -> None:
        with suppress(OSError):  # it is dead, and holds nothing
            socket.send_fds(self._orders, [HOLD], [descriptor])

    def start(self) -> None:
        with suppress(OSError):  # it died while it waited; alive() tells, and the end why
            self._orders.sendall(START)

    def alive(self) -> bool:
        return self._child.poll() is None

    @property
    def killed(self) -> bool:
        """Whether its process was ended by a signal that was not ours."""
        return not self._stopped and (self._child.poll() or 0) < 0

    def stop(self) -> None:
        if self._child.poll() is not None:
            return  # and its number may be another process's by now
        self._stopped = True
        for sign, seconds in (
            (signal.SIGINT, INTERRUPT_SECONDS),
            (signal.SIGTERM, TERMINATE_SECONDS),
            (signal.SIGKILL, 10.0),
        ):
            try:
                os.killpg(self._child.pid, sign)
            except ProcessLookupError:
                break
            try:
                self._child.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue

    def close(self) -> None:
        """Waits for the child and gives back what was open."""
        self._orders.close()
        self._answer.close()
        self._child.wait()

    def ending(self) -> str:
        """How the process ended, in words, with what it last wrote."""
        return f"{how_ended(self._child.wait())}. {self._last_words()}".strip()

    def _last_words(self) -> str:
        lines = (self._job.folder / LOG_FILE).read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-5:]) or "none."
