"""A block of a pipeline run has one row, and is executed once.

Two executions of a block write its output into one folder at the same time: one of them may read
what the other is writing, and fails.
"""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    # The API trigger stored the pipeline run, and its blocks' rows later. On a busy machine the
    # scheduler came between: it found no rows, and made its own. Mage executed a block for each of
    # its rows, and noted each end in any one of them. A row without an end was executed again at
    # every turn. Now the scheduler alone makes the rows, as it does for runs by a schedule.
    Patch(
        "orchestration/triggers/utils.py",
        "39cb5819e33bb950612945734cd091a4ae6143d938cbfe19d0d913c79f64bc71",
        (
            Edit(
                "    pipeline_run = PipelineRun.create(**configured_payload)\n\n"
                "    # Do not start the pipeline run immediately due to concurrency control\n",
                "    configured_payload['create_block_runs'] = False\n"
                "    pipeline_run = PipelineRun.create(**configured_payload)\n\n"
                "    # Do not start the pipeline run immediately due to concurrency control\n",
            ),
        ),
    ),
    # The scheduler read that a block was running, then that it had no job. A block that ended
    # between the two was taken for a crashed one, and was executed again. A block's end is stored
    # before its job is gone, so a second look at the row tells.
    Patch(
        "orchestration/pipeline_scheduler_original.py",
        "aa268ca17c8df84f4e5009d21451408525a8b3cd988ce7380424aae9add3a087",
        (
            Edit(
                "                br.update(status=BlockRun.BlockRunStatus.INITIAL)\n",
                "                br.refresh()\n"
                "                if br.status not in (\n"
                "                    BlockRun.BlockRunStatus.RUNNING,\n"
                "                    BlockRun.BlockRunStatus.QUEUED,\n"
                "                ):\n"
                "                    continue\n"
                "                br.update(status=BlockRun.BlockRunStatus.INITIAL)\n",
            ),
        ),
    ),
)
