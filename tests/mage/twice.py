"""Executes one block run twice at the same time, as a Mage without our patches does now and then.

Run by the Python of Mage's environment, with MAGE_DATABASE_CONNECTION_URL of a scratch database:
`python twice.py PROJECT PIPELINE ROWS`. Makes a pipeline run, hands its block to Mage's own
`run_block` in two processes, and prints the number of the pipeline run. With two ROWS each process
gets a row of its own for the same block: there Mage's trigger and its scheduler each make the rows
of a new pipeline run, and on a busy machine both do. No Mage may run beside it: its scheduler would
find a block at work that it has no job for, and execute it a third time.
"""

from __future__ import annotations

import multiprocessing
import sys

from mage_ai.orchestration.db import db_connection, engine
from mage_ai.orchestration.db.models.base import Base
from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun, PipelineSchedule
from mage_ai.orchestration.db.process import start_session_and_run
from mage_ai.orchestration.pipeline_scheduler_original import run_block
from mage_ai.settings.repo import set_repo_path


def main(project: str, name: str, rows: str) -> int:
    set_repo_path(project)
    db_connection.start_session()
    Base.metadata.create_all(engine)
    schedule = PipelineSchedule.create(name=name, pipeline_uuid=name, repo_path=project)
    run = PipelineRun.create(pipeline_uuid=name, pipeline_schedule_id=schedule.id)
    run.update(status=PipelineRun.PipelineRunStatus.RUNNING)
    block_runs = [run.block_runs[0]]
    if rows == "2":
        block_runs.append(BlockRun.create(block_uuid=name, pipeline_run_id=run.id))
    for one in block_runs:
        one.update(status=BlockRun.BlockRunStatus.QUEUED)
    # Neither ends before both have begun.
    both_begin = {"pipeline_run_id": run.id, "pipeline_uuid": name, "at_once": 2}
    variables = {**run.get_variables(), **both_begin}
    number = run.id
    ids = [block_runs[0].id, block_runs[-1].id]
    db_connection.close_session()
    engine.dispose()
    both = [
        multiprocessing.Process(
            target=start_session_and_run, args=(run_block, number, block_run, variables, {})
        )
        for block_run in ids
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    return number


if __name__ == "__main__":
    print(f"\nrun {main(*sys.argv[1:])}")
