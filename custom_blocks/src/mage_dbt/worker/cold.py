"""The cold worker: a new process that imports dbt, parses, plans, and runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mage_dbt import redaction, secret_values
from mage_dbt.settings import OUR_PREFIXES
from mage_dbt.worker import SHORTCUTS, Job
from mage_dbt.worker.process import LOG_FILE, ProcessWorker
from mage_dbt.worker.started import Started

SECRETS_FOLDER = "DBT_SECRETS_DIR"

NOT_FOR_DBT = (*OUR_PREFIXES, "MAGE_")
"""Beginnings of names that dbt never gets: the workspace's settings, with the ledger's URL."""


def dbt_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the runner's environment a dbt process gets.

    Its secrets are read here, each time, so that a changed password holds from the next process on.
    Raises SettingError when one cannot be read.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(NOT_FOR_DBT)}
    folder = kept.pop(SECRETS_FOLDER, "")
    given = secret_values.read(environ, secret_values.FOR_DBT, Path(folder) if folder else None)
    redaction.hide(*given.values())
    kept |= given
    if environ.get(SHORTCUTS) == "false":
        kept[SHORTCUTS] = "false"
    return kept | {
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PYTHONUNBUFFERED": "1",
    }


class ColdWorker(ProcessWorker):
    """See `Worker`."""

    how = "cold"

    def __init__(self, job: Job) -> None:
        job.write()
        words = ("run", str(job.folder))
        with (job.folder / LOG_FILE).open("ab") as log:
            started = Started.executed(words, job.folder, dbt_environment(os.environ), log)
        super().__init__(job, started)
