"""Keeps one long-lived process: starts it, and leaves nothing behind when it ends.

    python -m mage_dbt.workspace.keeper '{"command": […], "grace": 5, …}'

Mage leaves a scheduler, a worker pool and kernels behind when its main process dies, some in
sessions of their own. So each long-lived process is the child of a keeper, which on Linux adopts
whatever its descendants orphan. The keeper ends all of them when its child has ended, when it is
told to (SIGTERM, SIGINT, SIGHUP; a second one means at once), and when its standard input closes,
which is how it learns that the supervisor is gone, kill -9 included. It exits with its child's
status.
"""

from __future__ import annotations

import ctypes
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
from contextlib import suppress
from dataclasses import asdict, dataclass

import psutil

LEFTOVER_SECONDS = 2.0
"""How long descendants that outlived the process itself get between SIGTERM and SIGKILL."""

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class Order:
    """What a keeper is told. `grace` is seconds between the stop signal and SIGKILL; `user` is the
    system user to become, or None to stay who we are."""

    command: list[str]
    directory: str
    stop_signal: int = signal.SIGTERM
    grace: float = 5.0
    user: str | None = None

    def as_argument(self) -> str:
        return json.dumps(asdict(self))


def adopt_orphans() -> None:
    """Makes this process the parent of its descendants' orphans; does nothing where not Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Keeper:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._wakeup, wakeup_end = os.pipe()
        for end in (self._wakeup, wakeup_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(one, self._note)
        self._watched = [self._wakeup, sys.stdin.fileno()]
        self._asked = 0
        self._status: int | None = None
        adopt_orphans()
        self._child = subprocess.Popen(
            order.command,
            cwd=order.directory,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            umask=0o077,
            user=order.user,
            group=pwd.getpwnam(order.user).pw_gid if order.user else None,
            extra_groups=[] if order.user else None,
        )

    def run(self) -> int:
        """Waits for the end, of whatever kind; returns the child's status as a shell gives it."""
        self._wait(lambda: self._asked > 0 or self._status is not None, seconds=None)
        if self._status is None:
            # Not yet reaped, so the number cannot have gone to another process.
            os.kill(self._child.pid, self._order.stop_signal)
            self._wait(lambda: self._asked > 1 or self._status is not None, self._order.grace)
        self._end_the_rest()
        if self._status is None:
            self._reap()
        status = 0 if self._status is None else os.waitstatus_to_exitcode(self._status)
        return status if status >= 0 else 128 - status

    def _note(self, signum: int, frame: object) -> None:
        if signum != signal.SIGCHLD:
            self._asked += 1

    def _wait(self, over: Callable[[], bool], seconds: float | None) -> None:
        deadline = None if seconds is None else time.monotonic() + seconds
        while not over():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            ready, _, _ = select.select(self._watched, [], [], left)
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 1024):
                self._asked += 1
                self._watched.remove(sys.stdin.fileno())
            if self._wakeup in ready:
                os.read(self._wakeup, 1024)
            self._reap()

    def _reap(self) -> None:
        """Takes the status of every child that ended; adopted ones would stay zombies."""
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
        signals = (signal.SIGKILL,) if self._asked > 1 else (signal.SIGTERM, signal.SIGKILL)
        for signum in signals:
            deadline = time.monotonic() + LEFTOVER_SECONDS
            while time.monotonic() < deadline:
                left = self._left()
                if not left:
                    return
                for process in left:
                    _send(process, signum)
                self._wait(lambda: not self._left(), 0.5)

    def _left(self) -> list[psutil.Process]:
        self._reap()
        return psutil.Process().children(recursive=True) + _in_session(self._child.pid)


def _in_session(leader: int) -> list[psutil.Process]:
    """The processes of a session; only where orphans cannot be adopted, as on macOS."""
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


def _send(process: psutil.Process, signum: int) -> None:
    with suppress(psutil.Error):  # it ended meanwhile
        process.send_signal(signum)


def main() -> int:
    # The supervisor's ends of other keepers' pipes must not live on in our child.
    fcntl.fcntl(sys.stdin.fileno(), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    try:
        keeper = Keeper(Order(**json.loads(sys.argv[1])))
    except OSError as error:
        print(f"Cannot start: {error}", file=sys.stderr)
        return 127
    return keeper.run()


if __name__ == "__main__":
    sys.exit(main())
