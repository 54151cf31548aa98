"""Processes of this workspace that nobody watches any more, and their end.

Every process the workspace starts has `WORKSPACE_INSTANCE=<name>@<home>` in its environment and
hands it down, so what a killed keeper or supervisor left can be told from everybody else's.
"""

from __future__ import annotations

import signal

import psutil

from mage_dbt.home import Home
from mage_dbt.processes import wait_until_ended
from mage_dbt.workspace.progress import Progress

MARKER = "WORKSPACE_INSTANCE"

KEEPER_SECONDS = 15.0
"""A keeper whose supervisor died stops its process by itself, and takes no longer than this."""

STOP_SECONDS = 5.0

MOST_ROUNDS = 5
"""Times that processes are looked for and ended: one that is stopping may start another."""


def mark(home: Home, name: str) -> str:
    """The marker's value for the process `name`."""
    return f"{name}@{home.root}"


def find(home: Home, name: str | None = None) -> list[psutil.Process]:
    """The workspace's processes (those of `name`, or all), but for this one and its ancestors."""
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
    """Ends them: each by its stop signal, then by SIGKILL what is left after STOP_SECONDS."""
    for process in processes:
        _signal(process, None)
    alive = wait_until_ended(processes, STOP_SECONDS)
    for process in alive:
        _signal(process, signal.SIGKILL)
    wait_until_ended(alive, STOP_SECONDS)


def stop_all(home: Home) -> None:
    """Ends all of the workspace's processes, those too that others have started meanwhile."""
    for _ in range(MOST_ROUNDS):
        found = find(home)
        if not found:
            return
        stop(found)


def stop_those_of_an_earlier_start(home: Home, progress: Progress) -> None:
    """Ends what an earlier start that was killed left running, and says so."""
    left = find(home)
    if not left:
        return
    progress.say(f"An earlier start was killed; stopping the {len(left)} processes it left")
    wait_until_ended(left, KEEPER_SECONDS if any(map(_is_keeper, left)) else 0)
    stop_all(home)


def _is_keeper(process: psutil.Process) -> bool:
    try:
        return "mage_dbt.workspace.keeper" in process.cmdline()
    except psutil.Error:
        return False


def _signal(process: psutil.Process, signum: int | None) -> None:
    try:
        if signum is None:
            # PostgreSQL waits for its clients on SIGTERM; SIGINT is its fast shutdown.
            signum = signal.SIGINT if process.name() == "postgres" else signal.SIGTERM
        process.send_signal(signum)
    except psutil.Error:  # it ended meanwhile
        pass
