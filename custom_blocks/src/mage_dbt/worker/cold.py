"""The cold worker: a new process that imports dbt, plans, and runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mage_dbt import redaction, secret_values
from mage_dbt.errors import BadSelection, RequestError, WorkspaceError
from mage_dbt.plan import Plan, PlannedNode
from mage_dbt.settings import OUR_PREFIXES
from mage_dbt.worker import Job
from mage_dbt.worker.orders import HOLD, START

INTERRUPT_SECONDS = 2.5
"""dbt cancels its queries within 20 ms of SIGINT (measured); the rest is for a busy machine."""

TERMINATE_SECONDS = 1.5

LOG_FILE = "worker.log"

SECRETS_FOLDER = "DBT_SECRETS_DIR"

NOT_FOR_DBT = (*OUR_PREFIXES, "MAGE_")
"""Beginnings of names that dbt never gets: the workspace's settings, with the ledger's URL."""


def dbt_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the runner's environment a dbt process gets.

    `client_connection_check_interval` makes PostgreSQL notice a killed worker within a second
    instead of at the end of its query (measured: 0.7 s against more than 8 s).

    Its secrets are read here, each time, so that a changed password holds from the next process on.
    Raises SettingError when one cannot be read.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(NOT_FOR_DBT)}
    folder = kept.pop(SECRETS_FOLDER, "")
    given = secret_values.read(environ, secret_values.FOR_DBT, Path(folder) if folder else None)
    redaction.hide(*given.values())
    kept |= given
    options = kept.get("PGOPTIONS", "")
    return kept | {
        "PGOPTIONS": f"{options} -c client_connection_check_interval=1000".strip(),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PYTHONUNBUFFERED": "1",
    }


class ColdWorker:
    """See `Worker`. The child has a process group of its own, so a stop reaches all of it."""

    def __init__(self, job: Job) -> None:
        job.write()
        self._job = job
        self._log: IO[bytes] = (job.folder / LOG_FILE).open("ab")
        self._orders, child_end = socket.socketpair()
        with child_end:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "mage_dbt.worker.dbt_process", "run", str(job.folder)],
                stdin=child_end.fileno(),
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=dbt_environment(os.environ),
                cwd=job.folder,
                start_new_session=True,
                text=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def plan(self) -> Plan:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            code = self._child.wait()
            raise WorkspaceError(
                f"dbt's process ended before it had planned ({_how(code)}).",
                f"Its last words: {self._last_words()}",
            )
        answer: dict[str, Any] = json.loads(line)
        if answer["refused"]:
            self.stop()
            error = BadSelection if answer["refused"] == "selection" else RequestError
            raise error(answer["message"], answer["hint"])
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
        )

    def hold(self, descriptor: int) -> None:
        with suppress(OSError):  # it is dead, and holds nothing
            socket.send_fds(self._orders, [HOLD], [descriptor])

    def start(self) -> None:
        with suppress(OSError):  # it died while it waited; alive() tells, and the end why
            self._orders.sendall(START)

    def alive(self) -> bool:
        return self._child.poll() is None

    def stop(self) -> None:
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
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._child.wait()
        self._log.close()

    def ending(self) -> str:
        """How the process ended, in words, with what it last wrote."""
        return f"{_how(self._child.wait())}. {self._last_words()}".strip()

    def _last_words(self) -> str:
        lines = (self._job.folder / LOG_FILE).read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-5:]) or "none."


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
