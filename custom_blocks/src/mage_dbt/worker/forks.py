"""The loop of a process that forks others for the runner (`worker.forker` is the runner's side).

A message on its socket is a fork: some text, with three descriptors for the child: its standard
input, where it answers, and its log. Back come the child's pid with a pidfd, and later how it
ended. The process ends when the socket does; its children do not need it any more.

Nothing may be shared wrongly after a fork, so such a process has one thread and no connection.
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

from mage_dbt.worker.forker import LONGEST_MESSAGE, MODULE

Begin = Callable[[str, int], None]
"""What a child does, of the message and the descriptor it answers on. When it returns or raises,
the child ends."""


def runner_socket() -> socket.socket:
    """The runner's socket, which came as standard input; that is empty from now on."""
    connection = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return connection


class Forks:
    """A message is a fork, the end of a child is a message."""

    def __init__(self, runner: socket.socket, begin: Begin) -> None:
        self._runner = runner
        self._begin = begin
        self._children: dict[int, int] = {}
        """By pidfd, the pid."""

    def serve(self) -> None:
        """Returns when the runner's socket has ended."""
        # What another thread has locked would stay locked in a child. None begins from here on.
        assert threading.active_count() == 1, threading.enumerate()
        watch = select.poll()
        watch.register(self._runner, select.POLLIN)
        while True:
            for ready, _ in watch.poll():
                if ready != self._runner.fileno():
                    watch.unregister(ready)
                    self._tell_end(ready)
                    continue
                message, given, _, _ = socket.recv_fds(
                    self._runner, LONGEST_MESSAGE, 3, socket.MSG_CMSG_CLOEXEC
                )
                if not message:
                    return
                watch.register(self._fork(message.decode(), given), select.POLLIN)

    def _fork(self, message: str, given: list[int]) -> int:
        pid = os.fork()
        if pid == 0:
            self._be_child(message, given)
        os.setpgid(pid, pid)  # in both, so that it is one whoever comes first
        for descriptor in given:
            os.close(descriptor)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        answer = json.dumps({"forked": pid}).encode()
        socket.send_fds(self._runner, [answer], [pidfd])
        return pidfd

    def _tell_end(self, pidfd: int) -> None:
        pid = self._children.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        answer = {"ended": pid, "code": os.waitstatus_to_exitcode(status)}
        self._runner.send(json.dumps(answer).encode())

    def _be_child(self, message: str, given: list[int]) -> None:
        """Never returns: what its parent would do next is not the child's."""
        code = 1
        try:
            os.setpgid(0, 0)
            orders, answer, log = given
            for descriptor, standard in ((orders, 0), (log, 1), (log, 2)):
                os.dup2(descriptor, standard)
            for descriptor in (orders, log, *self._children):
                os.close(descriptor)
            self._runner.close()
            self._begin(message, answer)
            code = 0
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)  # ends as a process that was interrupted ends
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # without freeing all it has inherited, object by object


def show_command(*words: str) -> None:
    """Makes `ps` show these words for this process, where the kernel has room for them.

    Whoever looks for a run's process, a person or a runner after a restart, finds it by its folder.
    Linux shows what lies where the process's arguments were put when it began.
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
