"""What a dead runner left in the middle gets its end."""

from __future__ import annotations

import logging
from pathlib import Path

import psutil

from mage_dbt.ledger import Ledger
from mage_dbt.processes import wait_until_ended
from mage_dbt.run import Run, RunState
from mage_dbt.runner.record import Record
from mage_dbt.worker import EVENTS_FILE

log = logging.getLogger(__name__)

END_SECONDS = 10.0
"""A killed process may still have to leave a system call."""


WORKER = "mage_dbt.worker.dbt_process"
"""Stands in the command line of every worker."""


def end_left_worker(folder: Path) -> None:
    """Ends a worker that outlived its runner; its command line names the run's folder."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()
        # Somebody may be looking into the folder with a program of their own.
        if str(folder) in words and WORKER in words:
            log.warning("ending worker %s, left by an earlier runner", process.pid)
            process.kill()
            wait_until_ended([process], END_SECONDS)


def end_abandoned(run: Run, folder: Path, ledger: Ledger) -> None:
    """The runner that carried this run is gone: takes what dbt had said, and judges."""
    record = Record(run.id, folder / EVENTS_FILE, ledger)
    record.recall()
    record.take()
    plan = ledger.plan(run)
    reason = "the runner was stopped while this run was going on"
    record.fill(plan, "" if record.ended else reason)
    state, detail = record.verdict(plan)
    if state is not RunState.SUCCESS and reason not in detail:
        detail = f"{detail} {reason[0].upper()}{reason[1:]}."
    log.warning("run %s had no final state: %s %s", run.id, state, detail)
    ledger.state(run.id, state, detail)
