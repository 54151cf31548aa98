"""A worker's process and how it ended: by itself, by us, by somebody else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mage_dbt.workers import worker as worker_module
from mage_dbt.workers.child_process import Executed, Process, Started
from mage_dbt.workers.job import Job
from mage_dbt.workers.worker import ProcessWorker

STUBBORN = """
import signal
for one in (signal.SIGINT, signal.SIGTERM):
    signal.signal(one, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""


def begun(folder: Path) -> ProcessWorker:
    """A worker whose process ends of SIGKILL alone."""
    job = Job(
        folder=folder,
        commit="",
        project=folder,
        parsed=folder,
        dbt_arguments=(),
        command="build",
        select=(),
        exclude=(),
        flags=(),
        variables={},
    )

    def begin(given: Sequence[int]) -> Process:
        control, answer, log = given
        words = [sys.executable, "-c", STUBBORN]
        return Executed(words, stdin=control, stdout=answer, stderr=log, start_new_session=True)

    with (folder / worker_module.LOG_FILE).open("ab") as log:
        started = Started.by(begin, log)
    assert started.answer.readline() == "ready\n"
    return ProcessWorker(job, started)


def test_a_worker_that_somebody_else_killed_says_so(tmp_path: Path) -> None:
    worker = begun(tmp_path)
    assert worker.alive() and not worker.killed
    os.kill(worker.pid, signal.SIGKILL)
    worker.close()
    assert worker.killed and worker.ending().startswith("killed by SIGKILL")
    worker.stop()  # which comes too late to have been the reason
    assert worker.killed


def test_a_worker_that_we_had_to_kill_was_not_killed_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("INTERRUPT_SECONDS", "TERMINATE_SECONDS"):
        monkeypatch.setattr(worker_module, name, 0.1)
    worker = begun(tmp_path)
    worker.stop()
    worker.close()
    assert not worker.alive() and not worker.killed
    assert worker.ending().startswith("killed by SIGKILL")
