"""What a run that was cut off left at work in the warehouse: looked at, ended, looked at again.

A run's place in the line is left when no session of it is there any more. Only dbt knows how to
reach the warehouse, so a process of dbt's environment looks.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import dataclass

from mage_dbt.worker import Job
from mage_dbt.worker.cold import dbt_environment
from mage_dbt.worker.process import LOG_FILE

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How long one look may take: a start of dbt, a connection, the sessions' end."""

AGAIN_SECONDS = 2.0
"""Between two looks."""

LOOKING_AT_ONCE = threading.Semaphore(2)
"""A start of dbt is all CPU, and a runner that comes back may have many runs to look for."""


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


def look(job: Job) -> Look:
    """Ends the run's sessions and says what is left of them. Never raises."""
    words = [sys.executable, "-m", "mage_dbt.worker.dbt_process", "ended", str(job.folder)]
    try:
        with LOOKING_AT_ONCE, (job.folder / LOG_FILE).open("ab") as said:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                env=dbt_environment(os.environ),
                cwd=job.folder,
                timeout=LOOK_SECONDS,
                check=True,
                text=True,
            )
        found = Look(**json.loads(done.stdout))
    except Exception as error:  # whatever it is: nobody has looked, so the place is kept
        found = Look(error=str(error))
    if not found.gone:
        log.warning("run %s: %s", job.run, found)
    return found
