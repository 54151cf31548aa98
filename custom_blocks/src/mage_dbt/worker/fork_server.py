"""The fork server: a process that has imported dbt and done nothing else, and forks warm parents.

    python -P -m mage_dbt.worker.dbt_process fork-server NAME

Importing dbt is about 2 s of CPU for each process that does it, whatever the project. A fork has it
done. A message names the parent's folder and what `ps` shows of it; see `worker.forks`, and
`worker.fork_server_process` for when a fork may take the place of a process of its own.
"""

from __future__ import annotations

import gc
import json
import os
import sys

from mage_dbt.worker import parent
from mage_dbt.worker.forks import Forks, runner_socket, show_command
from mage_dbt.worker.project import import_late


def serve(name: str) -> None:
    """Forks until the runner's socket ends."""
    runner = runner_socket()
    show_command("fork-server", name)
    import_late()
    gc.collect()
    gc.freeze()  # a collection in a child must not write to, and so copy, the pages they share
    Forks(runner, _be_parent).serve()


def _be_parent(message: str, answer: int) -> None:
    begin = json.loads(message)
    show_command("warm", begin["name"])
    sys.argv[1:] = ["warm", begin["name"]]
    os.chdir(begin["folder"])
    parent.serve(os.fdopen(answer, "w", buffering=1))
