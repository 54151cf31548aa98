"""What a run that was cut off left at work in the warehouse: looked at, ended, looked at again.

A run's place in the line is left when no session of it is there any more. Only dbt knows how to
reach the warehouse, so a process that has imported dbt looks: a fork, which has done so already.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import dataclass

from mage_dbt.errors import WorkspaceError
from mage_dbt.worker import Job
from mage_dbt.worker.child import how_ended
from mage_dbt.worker.cold import dbt_environment
from mage_dbt.worker.fork_server_process import ForkServers
from mage_dbt.worker.process import LOG_FILE

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How long one look may take: reading the profile, a connection, the sessions' end."""

AGAIN_SECONDS = 2.0
"""Between two looks."""

LOOKING_AT_ONCE = threading.Semaphore(2)
"""Each is a session of the warehouse, and a runner that comes back may have many runs to look for.
Where there is no fork server each is a start of dbt, too."""


@dataclass(frozen=True)
class Look:
    """What one look has found."""

    left: int = 0
    """Sessions that are still there."""
    looked: bool = True
    """Whether this adapter's server can be asked at all."""
    error: str = ""
    """Why it is not known; empty when it is."""

    @property
    def gone(self) -> bool:
        return not self.left and not self.error

    def __str__(self) -> str:
        why = (
            f"it cannot be seen whether its SQL has ended ({self.error})"
            if self.error
            else f"{self.left} of its sessions are still at work in the warehouse"
        )
        return f"Its place in the line is kept: {why}."


def look(job: Job, servers: ForkServers) -> Look:
    """Ends the run's sessions and says what is left of them. Never raises."""
    try:
        with LOOKING_AT_ONCE:
            found = Look(**json.loads(_answer(job, servers)))
    except Exception as error:  # whatever it is: nobody has looked, so the place is kept
        found = Look(error=str(error))
    if not found.gone:
        log.warning("run %s: %s", job.run, found)
    return found


def _answer(job: Job, servers: ForkServers) -> str:
    words = ("ended", str(job.folder))
    with (job.folder / LOG_FILE).open("ab") as said:
        started = servers.start(words, job.folder, dbt_environment(os.environ), said)
    with started.connection, started.answer:
        try:
            code = started.process.wait(LOOK_SECONDS)
        except BaseException:
            started.process.kill()
            started.process.wait()
            raise
        answer = started.answer.read()
    if not answer:
        raise WorkspaceError(f"dbt's process ended before it had looked ({how_ended(code)}).")
    return answer
