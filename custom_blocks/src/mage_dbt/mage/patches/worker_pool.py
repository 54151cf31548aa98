"""Mage's queue forgot jobs, and gave some of them to two workers."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    Patch(
        "orchestration/queue/process_queue.py",
        "c65f62ee396056c2f5f10c10b9a4fdba111d723dec20ae2aa4a6e99fbcc8b97d",
        (
            # A job that entered the queue while the worker pool was ending stayed there ("exists.
            # Skip enqueue"), and its block stayed Queued until another job came. The scheduler
            # calls clean_up_jobs at every turn.
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
                # A job is on its way into the queue, or out of it, where the queue looks empty. Its
                # worker fails when it finds no status.
                "                if self.job_dict.get(job_id) == JobStatus.QUEUED:\n"
                "                    continue\n"
                "                if not self.has_job(job_id):\n",
            ),
            # A worker takes a job out of the queue, and later notes that it has it. In between the
            # scheduler saw a queued job in no queue, queued it again, and a second worker ran it.
            # The pool is alive for as long as one of its workers is.
            Edit(
                "        if job == JobStatus.QUEUED and not self.queue.empty():\n",
                "        if job == JobStatus.QUEUED and (\n"
                "            not self.queue.empty() or self.is_worker_pool_alive()\n"
                "        ):\n",
            ),
            # A quick worker took the job before it had a status, or noted that it has it and saw
            # that overwritten.
            Edit(
                "        self.queue.put([job_id, target, args, kwargs])\n"
                "        self.job_dict[job_id] = JobStatus.QUEUED\n",
                "        self.job_dict[job_id] = JobStatus.QUEUED\n"
                "        self.queue.put([job_id, target, args, kwargs])\n",
            ),
        ),
    ),
)
