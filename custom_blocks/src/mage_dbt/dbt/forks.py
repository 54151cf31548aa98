"""The loop of a process that forks: a zygote or a fork server (`workers/forker.py` is the runner's
side).

A message on its socket asks for a fork: some text, and three descriptors for the child. These are
its standard input, the pipe for its answer, and its log. The process answers with the child's pid
and pidfd, and later with how it ended. It ends when the socket does; its children go on.

A fork must not inherit locks or connections, so such a process has one thread and no connection.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from mage_dbt.workers.child_process import MODULE
from mage_dbt.workers.forker import LONGEST_MESSAGE

Begin = Callable[[str, int], None]
"""What a child does with the message and the pipe for its answer. It ends when this returns."""


def runner_socket() -> socket.socket:
    """Takes the runner's socket from standard input, which is empty from now on."""
    connection = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return connection


class Forks:
    """The loop: each message forks a child, and each child's end becomes a message."""

    def __init__(self, runner: socket.socket, begin: Begin) -> None:
        self._runner = runner
        self._begin = begin
        self._children: dict[int, int] = {}
        """Pids by pidfd."""

    def serve(self) -> None:
        """Returns when the runner's socket has ended."""
        # A lock that another thread holds would stay locked in a child. No thread starts later.
        assert threading.active_count() == 1, threading.enumerate()
        poller = select.poll()
        poller.register(self._runner, select.POLLIN)
        while True:
            for ready, _ in poller.poll():
                if ready != self._runner.fileno():
                    poller.unregister(ready)
                    self._report_end(ready)
                    continue
                message, descriptors, _, _ = socket.recv_fds(
                    self._runner, LONGEST_MESSAGE, 3, socket.MSG_CMSG_CLOEXEC
                )
                if not message:
                    return
                poller.register(self._fork(message.decode(), descriptors), select.POLLIN)

    def _fork(self, message: str, descriptors: list[int]) -> int:
        pid = os.fork()
        if pid == 0:
            self._be_child(message, descriptors)
        os.setpgid(pid, pid)  # in both processes: either may come first
        for descriptor in descriptors:
            os.close(descriptor)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        answer = json.dumps({"forked": pid}).encode()
        socket.send_fds(self._runner, [answer], [pidfd])
        return pidfd

    def _report_end(self, pidfd: int) -> None:
        pid = self._children.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        answer = {"ended": pid, "code": os.waitstatus_to_exitcode(status)}
        self._runner.send(json.dumps(answer).encode())

    def _be_child(self, message: str, descriptors: list[int]) -> None:
        """Never returns: what the parent would do next is not for the child."""
        code = 1
        try:
            os.setpgid(0, 0)
            control, answer, log = descriptors
            for descriptor, standard in ((control, 0), (log, 1), (log, 2)):
                os.dup2(descriptor, standard)
            for descriptor in (control, log, *self._children):
                os.close(descriptor)
            self._runner.close()
            self._begin(message, answer)
            code = 0
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)  # ends like any interrupted process
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # does not free what it inherited, object by object


def show_command(*words: str) -> None:
    """Makes `ps` show these arguments for this process, where the kernel has room for them.

    A person, or a runner after a restart, finds a run's process by its folder. Linux shows the
    memory in which the process's arguments lay when it started.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        begin, end = int(fields[45]), int(fields[46])
        shown = Path("/proc/self/cmdline").read_bytes().split(b"\0")
        at = shown.index(MODULE.encode()) + 1
    except (OSError, IndexError, ValueError):
        return
    line = b"\0".join([*shown[:at], *(word.encode() for word in words)]) + b"\0"
    if len(line) <= end - begin:
        ctypes.memmove(begin, line.ljust(end - begin, b"\0"), end - begin)
