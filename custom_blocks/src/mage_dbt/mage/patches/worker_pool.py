"""A queue that forgot a job."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    # A job put into the queue while the worker pool was about to end stayed there, "exists. Skip
    # enqueue", and its block Queued for ever, until another job came. The scheduler calls
    # clean_up_jobs at every turn.
    Patch(
        "orchestration/queue/process_queue.py",
        "c65f62ee396056c2f5f10c10b9a4fdba111d723dec20ae2aa4a6e99fbcc8b97d",
        (
            Edit(
                "        job_ids = self.job_dict.keys()\n"
                "        for job_id in job_ids:\n"
                "            if job_id in self.job_dict:\n"
                "                if not self.has_job(job_id):\n",
                "        if not self.queue.empty() and not self.is_worker_pool_alive():\n"
                "            self.start_worker_pool()\n"
                "        job_ids = self.job_dict.keys()\n"
                "        for job_id in job_ids:\n"
                "            if job_id in self.job_dict:\n"
                "                if not self.has_job(job_id):\n",
            ),
        ),
    ),
)
