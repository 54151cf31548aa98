"""The fork server: a process that has imported dbt and done nothing else, and forks those that do.

    python -P -m mage_dbt.worker.dbt_process fork-server NAME

Importing dbt is about 2 s of CPU for each process that does it, whatever the project. A fork has it
done. A message names a folder and the words with which a process would be executed in it (see
`worker.dbt_process`); see `worker.forks`, and `worker.fork_server_process` for when a fork may take
the place of a process of its own.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import IO

from mage_dbt.worker.forks import Forks, runner_socket, show_command
from mage_dbt.worker.project import import_late


def serve(name: str, begin: Callable[[Sequence[str], IO[str]], None]) -> None:
    """Forks until the runner's socket ends. A child does what `begin` makes of its words, and
    answers there."""

    def be_child(message: str, answer: int) -> None:
        told = json.loads(message)
        show_command(*told["words"])
        sys.argv[1:] = told["words"]
        os.chdir(told["folder"])
        begin(told["words"], os.fdopen(answer, "w", buffering=1))

    runner = runner_socket()
    show_command("fork-server", name)
    import_late()
    gc.collect()
    gc.freeze()  # a collection in a child must not write to, and so copy, the pages they share
    Forks(runner, be_child).serve()
