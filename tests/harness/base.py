"""What every harness has: a home, settings, and processes that can be found and killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg

from mage_dbt.home import Home
from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE, WORKSPACE
from mage_dbt.settings import Settings


def command_line(process: psutil.Process) -> str:
    """Its words; empty where it has ended, as processes that were just listed often have."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def parent_of(process: psutil.Process) -> int:
    """Its parent's number; 0 where it has ended."""
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0


class Harness:
    """Something real that tests start, ask and end, in a home of its own."""

    home: Home
    settings: Settings

    def log(self, name: str) -> str:
        """What the process of this name has logged so far; empty when it has no log yet."""
        try:
            return (self.home.logs / f"{name}.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def processes(self, words: str) -> list[psutil.Process]:
        """This home's processes whose command line holds `words`, without their subreapers.

        The oldest first, whatever their numbers: one that was just forked has its parent's command
        line until it executes its own program.
        """
        found = []
        for process in psutil.process_iter(["cmdline", "environ", "create_time"]):
            command = " ".join(process.info["cmdline"] or ())
            mine = str(self.home.root) in f"{command} {process.info['environ']}"
            if mine and words in command and "mage_dbt.launcher.subreaper" not in command:
                found.append(process)
        return sorted(found, key=lambda process: float(process.info["create_time"] or 0))

    def files(self, *without: Path) -> Iterator[tuple[Path, bytes]]:
        """Every file of the home with what it holds, but for links and those in folders `without`.
        What the processes remove meanwhile is left out too."""
        for root, folders, names in os.walk(self.home.root):
            folders[:] = [name for name in folders if Path(root, name) not in without]
            for file in (Path(root, name) for name in names):
                with suppress(FileNotFoundError):
                    if file.is_file() and not file.is_symlink():
                        yield file, file.read_bytes()

    def kill(self, words: str) -> None:
        """kill -9 of the process of this home whose command line holds `words`."""
        found = self.processes(words)
        assert found, f"no process runs {words}"
        os.kill(found[0].pid, signal.SIGKILL)

    def rows(self, role: str, sql: str, *values: Any) -> list[Any]:
        """Rows for one of the workspace's roles; none for a statement that gives none."""
        with self.connect(role) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def connect(self, role: str, database: str = "") -> psycopg.Connection[Any]:
        """As this role, in its own database unless another is named; each statement commits."""
        return psycopg.connect(self.url(role, database), autocommit=True)

    def url(self, role: str, database: str = "") -> str:
        """For this role, of its own database unless another is named."""
        password = quote((self.home.secrets / secret_of(role)).read_text(), safe="")
        database = database or (WAREHOUSE if role in ("dbt", "analyst") else WORKSPACE)
        return f"postgresql://{role}:{password}@127.0.0.1:{self.postgres_port}/{database}"

    @property
    def postgres_port(self) -> int:
        return self.settings.postgres_port


def secret_of(role: str) -> str:
    """The file that holds the role's password."""
    return "postgres-superuser" if role == SUPERUSER else f"postgres-{role}"
