"""The zygote: a process that has imported dbt, made its classes ready, and forks those that use it.

Importing dbt takes each process about 2 s of CPU, whatever the project. A fork has it imported. A
message gives a folder and the arguments with which a process would be executed there (see
`dbt/process.py`). `workers/zygote.py` says when a fork may take the place of an executed process.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from mage_dbt.commits.graph_key import shortcuts_wanted
from mage_dbt.dbt.forks import Forks, runner_socket, show_command
from mage_dbt.dbt.project import import_late


def serve(name: str, begin: Callable[[Sequence[str], IO[str]], None]) -> None:
    """Forks until the runner's socket ends. Each child calls `begin` with its arguments and the
    pipe for its answer."""

    def be_child(message: str, answer: int) -> None:
        request = json.loads(message)
        show_command(*request["words"])
        sys.argv[1:] = request["words"]
        os.chdir(request["folder"])
        begin(request["words"], os.fdopen(answer, "w", buffering=1))

    runner = runner_socket()
    show_command("zygote", name)
    import_late()
    _compare_sources()
    _make_classes_ready()
    _make_macros_ready()
    # dbt asks for the module that asks for its flags of behaviour. The first answer takes 160 ms of
    # CPU, because all modules' files are looked up; forks have them.
    inspect.stack()
    gc.collect()
    gc.freeze()  # a collection in a child must not write to, and so copy, the pages they share
    Forks(runner, be_child).serve()


def _compare_sources() -> None:
    """Reads dbt's sources once for all that is forked: 50 ms of CPU for each that parses."""
    with suppress(ImportError):  # another dbt, whose own functions are called
        from mage_dbt.dbt.patches import compare_sources

        compare_sources()


def _make_classes_ready() -> None:
    with suppress(Exception):  # of another dbt, which makes its own at each parse
        from mage_dbt.dbt import classes

        classes.make_ready()


def _make_macros_ready() -> None:
    if not shortcuts_wanted(os.environ):
        return
    with suppress(Exception):  # of another dbt, which reads its own at each parse
        from mage_dbt.dbt.patches import take_for_all

        take_for_all()
