"""Stray processes: those of this workspace whose supervisor or subreaper was killed.

Every process the workspace starts has `WORKSPACE_INSTANCE=<name>@<home>` in its environment, and so
have its descendants. By that variable a stray is told from the processes of others.
"""

from __future__ import annotations

import signal

import psutil

from mage_dbt.base.processes import send, wait_until_ended
from mage_dbt.home import Home
from mage_dbt.launcher.progress import Progress

MARKER = "WORKSPACE_INSTANCE"

SUBREAPER_SECONDS = 15.0
"""A subreaper whose supervisor died stops its program by itself, within this time."""

STOP_SECONDS = 5.0

MOST_ROUNDS = 5
"""Rounds of finding and ending: a process that is stopping may start another."""


def mark(home: Home, name: str) -> str:
    """The value of WORKSPACE_INSTANCE for the program `name`."""
    return f"{name}@{home.root}"


def find(home: Home, name: str | None = None) -> list[psutil.Process]:
    """The workspace's processes, or those of one program; never this one or its ancestors."""
    this = psutil.Process()
    ours = {this.pid, *(parent.pid for parent in this.parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in ours:
            continue
        try:
            value = process.environ().get(MARKER, "")
        except (psutil.Error, OSError):  # not ours to look at, or just ended
            continue
        if value == mark(home, name) if name else value.endswith(mark(home, "")):
            found.append(process)
    return found


def stop(processes: list[psutil.Process]) -> None:
    """Sends each its stop signal, and after STOP_SECONDS SIGKILL to those that are left."""
    for process in processes:
        send(process, _stop_signal(process))
    alive = wait_until_ended(processes, STOP_SECONDS)
    for process in alive:
        send(process, signal.SIGKILL)
    wait_until_ended(alive, STOP_SECONDS)


def stop_all(home: Home) -> None:
    """Ends all of the workspace's processes, also those that start meanwhile."""
    for _ in range(MOST_ROUNDS):
        found = find(home)
        if not found:
            return
        stop(found)


def stop_those_of_an_earlier_start(home: Home, progress: Progress) -> None:
    """Ends what an earlier, killed start has left, and prints that."""
    left = find(home)
    if not left:
        return
    progress.say(f"An earlier start was killed; stopping the {len(left)} processes it left")
    wait_until_ended(left, SUBREAPER_SECONDS if any(map(_is_subreaper, left)) else 0)
    stop_all(home)


def _is_subreaper(process: psutil.Process) -> bool:
    try:
        return "mage_dbt.launcher.subreaper" in process.cmdline()
    except psutil.Error:
        return False


def _stop_signal(process: psutil.Process) -> int:
    try:
        # PostgreSQL waits for its clients on SIGTERM; SIGINT is its fast shutdown.
        return signal.SIGINT if process.name() == "postgres" else signal.SIGTERM
    except psutil.Error:
        return signal.SIGTERM
