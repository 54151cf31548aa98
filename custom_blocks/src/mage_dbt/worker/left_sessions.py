"""Ends what a run that was cut off left at work in the warehouse, in a process of its own.

    python -m mage_dbt.worker.dbt_process ended FOLDER

It reads the profile as the run did, asks the server for the run's sessions and ends them. One JSON
line is the answer: `looked` says whether this adapter's server can be asked at all, `left` how many
sessions are still there, `error` why that is not known.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from typing import Any

from dbt.config.runtime import load_profile
from dbt.flags import set_from_args
from dbt_common.context import set_invocation_context

from mage_dbt.redaction import scrub
from mage_dbt.worker import Job
from mage_dbt.worker.session_names import run_name


def end(job: Job) -> dict[str, Any]:
    """The answer; never raises."""
    try:
        credentials = _credentials(job)
        if credentials.type != "postgres":
            return {"looked": False, "left": 0, "error": ""}
        from mage_dbt.worker.postgres_sessions import CannotTell, end_sessions

        try:
            left = end_sessions(credentials, run_name(job.run))
        except CannotTell as error:
            print(f"The warehouse does not tell whose its sessions are: {error}", file=sys.stderr)
            return {"looked": False, "left": 0, "error": ""}
        return {"looked": True, "left": left, "error": ""}
    except Exception as error:
        return {"looked": True, "left": 0, "error": scrub(str(error).strip() or repr(error))}


def _credentials(job: Job) -> Any:
    words = list(job.dbt_arguments)
    given = {words[at]: words[at + 1] for at in range(0, len(words) - 1, 2)}
    set_invocation_context(dict(os.environ))  # what `env_var` in a profile reads
    set_from_args(
        Namespace(PROFILES_DIR=given["--profiles-dir"], PROJECT_DIR=given["--project-dir"]), None
    )
    profile = load_profile(
        given["--project-dir"],
        dict(job.variables),
        given.get("--profile"),
        given.get("--target"),
    )
    return profile.credentials


def answer(job: Job) -> str:
    return json.dumps(end(job))
