"""dbt's command line, many times: what `dbt …` runs, in a fork of a process that has imported it.

Two thirds of a small command's time are Python's imports. Each line of standard input is a command
(arguments, environment, folder, a file for the output); the answer to each is its exit status. The
fork enters where the program `dbt` does, with nothing parsed and nothing opened before;
`test_differential.py` compares it with that program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class CommandLines:
    """The other side: starts the process, and asks it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, words: list[str], environ: Mapping[str, str], folder: Path, output: Path) -> int:
        """Runs `dbt …` in `folder`; gives its exit status. One at a time."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                env={"PATH": os.environ["PATH"]},
            )
        assert self._process.stdin and self._process.stdout
        order = {"words": words, "environ": dict(environ), "folder": str(folder)}
        self._process.stdin.write(json.dumps({**order, "output": str(output)}) + "\n")
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate()  # the end of its input is its end


def serve() -> None:
    """Carries out what comes on standard input, until it ends."""
    from dbt.cli.main import cli

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_dbt(cli, order)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _be_dbt(cli: Any, order: Mapping[str, Any]) -> None:
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for one, standard in ((null, 0), (output, 1), (output, 2)):
        os.dup2(one, standard)
    os.environ.clear()
    os.environ.update(order["environ"])
    os.chdir(order["folder"])
    sys.argv = ["dbt", *order["words"]]
    code: Any = 1
    try:
        cli()
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
