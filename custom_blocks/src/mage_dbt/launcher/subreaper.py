"""Runs one long-lived program, and leaves none of its processes behind when it ends.

    python -m mage_dbt.launcher.subreaper '{"command": […], "grace": 5, …}'

Mage leaves a scheduler, a worker pool and kernels behind when its main process dies, some of them
in sessions of their own. So each long-lived program is the child of a process that on Linux is a
subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): whatever its descendants orphan becomes its child.

It ends all of them
- when the program has ended,
- when it gets SIGTERM, SIGINT or SIGHUP; a second signal ends them at once,
- when its standard input closes: then the supervisor is gone, kill -9 included.

It exits with the program's status.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import psutil

from mage_dbt.base.processes import adopt_orphans, send

LEFTOVER_SECONDS = 2.0
"""How long descendants that outlived the program get between SIGTERM and SIGKILL."""


@dataclass(frozen=True)
class Launch:
    """How a program is started and stopped."""

    command: list[str]
    directory: str
    stop_signal: int = signal.SIGTERM
    grace: float = 5.0
    """Seconds between the stop signal and SIGKILL."""
    user: str | None = None
    """The system user to become; None: the user that runs us."""

    def as_argument(self) -> str:
        """The argument that `main` reads."""
        return json.dumps(asdict(self))


class Subreaper:
    """The parent of one program, and of whatever the program's descendants orphan."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._wakeup, wakeup_end = os.pipe()
        for end in (self._wakeup, wakeup_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._count)
        self._watched = [self._wakeup, sys.stdin.fileno()]
        self._stops = 0
        """How often it was asked to stop."""
        self._status: int | None = None
        adopt_orphans()
        self._child = subprocess.Popen(
            launch.command,
            cwd=launch.directory,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            umask=0o077,
            user=launch.user,
            group=pwd.getpwnam(launch.user).pw_gid if launch.user else None,
            extra_groups=[] if launch.user else None,
        )

    def run(self) -> int:
        """Waits for an end of whatever kind; returns the program's status as a shell has it."""
        self._wait(lambda: self._stops > 0 or self._status is not None, seconds=None)
        if self._status is None:
            # Not yet reaped, so no other process can have its number.
            os.kill(self._child.pid, self._launch.stop_signal)
            self._wait(lambda: self._stops > 1 or self._status is not None, self._launch.grace)
        self._end_the_rest()
        if self._status is None:
            self._reap()
        status = 0 if self._status is None else os.waitstatus_to_exitcode(self._status)
        return status if status >= 0 else 128 - status

    def _count(self, signum: int, frame: object) -> None:
        if signum != signal.SIGCHLD:
            self._stops += 1

    def _wait(self, over: Callable[[], bool], seconds: float | None) -> None:
        deadline = None if seconds is None else time.monotonic() + seconds
        while not over():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            ready, _, _ = select.select(self._watched, [], [], left)
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 1024):
                self._stops += 1
                self._watched.remove(sys.stdin.fileno())
            if self._wakeup in ready:
                os.read(self._wakeup, 1024)
            self._reap()

    def _reap(self) -> None:
        """Asks for the status of every child that ended: else adopted ones would stay zombies."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child.pid:
                self._status = status

    def _end_the_rest(self) -> None:
        signals = (signal.SIGKILL,) if self._stops > 1 else (signal.SIGTERM, signal.SIGKILL)
        for number in signals:
            deadline = time.monotonic() + LEFTOVER_SECONDS
            while time.monotonic() < deadline:
                left = self._left()
                if not left:
                    return
                for process in left:
                    send(process, number)
                self._wait(lambda: not self._left(), 0.5)

    def _left(self) -> list[psutil.Process]:
        self._reap()
        return psutil.Process().children(recursive=True) + _in_session(self._child.pid)


def _in_session(leader: int) -> list[psutil.Process]:
    """The processes of a session, where orphans cannot be adopted (macOS); none on Linux."""
    if sys.platform == "linux":
        return []
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader:
                found.append(process)
        except OSError:  # it ended, or is not ours
            continue
    return found


def main() -> int:
    # The supervisor's ends of other subreapers' pipes must not live on in our child.
    fcntl.fcntl(sys.stdin.fileno(), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    try:
        subreaper = Subreaper(Launch(**json.loads(sys.argv[1])))
    except OSError as error:
        print(f"Cannot start: {error}", file=sys.stderr)
        return 127
    return subreaper.run()


if __name__ == "__main__":
    sys.exit(main())
