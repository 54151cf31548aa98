"""The warm parent: parses one commit, then forks a child for each job it is told of.

    python -m mage_dbt.worker.dbt_process warm COMMIT

Standard input is a socket of the runner that keeps messages apart. The first says what to parse
(`Task`); the answer is one line on standard output. Every further message is a run's folder with
three descriptors: the child's standard input (see `worker.orders`), where it answers with its plan,
and its log. Back come the child's pid with a pidfd, and later how it ended. The parent ends when
the socket does. A child does not need it any more: it hears the runner itself.

Nothing may be shared wrongly after a fork, so the parent has one thread, no connection, and no job.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, Any

import dbt.adapters.factory

from mage_dbt.worker import DESCRIBE, Job
from mage_dbt.worker.describe import describe
from mage_dbt.worker.orders import Orders
from mage_dbt.worker.packages import bring
from mage_dbt.worker.parent_process import LONGEST_MESSAGE, Task
from mage_dbt.worker.project import QUIET, NotParsed, Project
from mage_dbt.worker.session import Session, arguments_of
from mage_dbt.worker.session_names import name_sessions


def serve(answer: IO[str]) -> None:
    """Parses what the first message says, answers, and forks until the socket ends."""
    runner = socket.socket(fileno=os.dup(0))
    project, told = _parse(Task.from_bytes(runner.recv(LONGEST_MESSAGE)))
    answer.write(json.dumps(told) + "\n")
    answer.close()
    if project is None:
        return
    os.close(1)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()  # a collection in a child must not write to, and so copy, the pages they share
    _Forks(runner, project).serve()


def _parse(task: Task) -> tuple[Project | None, dict[str, Any]]:
    arguments = [*task.dbt_arguments, *QUIET]
    notes: list[str] = []
    if task.packages:
        where = Path(task.packages), Path.cwd()
        brought = bring(_without(arguments, "--target-path"), *where)
        if brought.failed:
            declared = list(brought.declared)
            return None, {"failed": "packages", "message": brought.failed, "declared": declared}
        notes = brought.notes
    arguments += ["--vars", json.dumps(dict(task.variables))]
    try:
        project = Project.parse(arguments, watch_clock=task.describe)
        # What was parsed stays: no collection from here on looks through all of it.
        gc.freeze()
        project.warm(arguments)
    except NotParsed as error:
        return None, {"failed": "parse", "message": str(error)}
    dbt.adapters.factory.reset_adapters()
    if not task.describe:
        return project, {"failed": ""}
    told = {"notes": notes, "clock": project.clock, "graph": describe(project)}
    return project, {"failed": "", **told}


class _Forks:
    """The parent's loop: a message is a fork, an end of a child is a message."""

    def __init__(self, runner: socket.socket, project: Project) -> None:
        self._runner = runner
        self._project = project
        self._children: dict[int, int] = {}
        """By pidfd, the pid."""

    def serve(self) -> None:
        watch = select.poll()
        watch.register(self._runner, select.POLLIN)
        while True:
            for ready, _ in watch.poll():
                if ready != self._runner.fileno():
                    watch.unregister(ready)
                    self._tell_end(ready)
                    continue
                folder, given, _, _ = socket.recv_fds(
                    self._runner, LONGEST_MESSAGE, 3, socket.MSG_CMSG_CLOEXEC
                )
                if not folder:
                    return
                watch.register(self._fork(Path(folder.decode()), given), select.POLLIN)

    def _fork(self, folder: Path, given: list[int]) -> int:
        pid = os.fork()
        if pid == 0:
            self._be_child(folder, given)
        os.setpgid(pid, pid)  # in both, so that it is one whoever comes first
        for one in given:
            os.close(one)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        told = json.dumps({"forked": pid}).encode()
        socket.send_fds(self._runner, [told], [pidfd])
        return pidfd

    def _tell_end(self, pidfd: int) -> None:
        pid = self._children.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        told = {"ended": pid, "code": os.waitstatus_to_exitcode(status)}
        self._runner.send(json.dumps(told).encode())

    def _be_child(self, folder: Path, given: list[int]) -> None:
        """Never returns: what the parent would do next is not the child's."""
        code = 1
        try:
            os.setpgid(0, 0)
            orders, answer, log = given
            for one, standard in ((orders, 0), (log, 1), (log, 2)):
                os.dup2(one, standard)
            for one in (orders, log, *self._children):
                os.close(one)
            self._runner.close()
            show_command("run", str(folder))
            os.chdir(folder)
            _carry(self._project, Job.read(folder), answer)
            code = 0
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)  # ends as a process that was interrupted ends
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # without freeing the whole manifest, object by object


def _carry(project: Project, job: Job, answer: int) -> None:
    orders = Orders()
    name_sessions(job.run, job.caller)
    (job.folder / "target").mkdir(exist_ok=True)
    with os.fdopen(answer, "w", buffering=1) as told:
        if job.command == DESCRIBE:
            told.write(json.dumps({"refused": "", **describe(project)}) + "\n")
            return
        Session(job, project, arguments_of(job)).carry(
            lambda plan: told.write(json.dumps(plan) + "\n"), orders.wait_for_start
        )


def show_command(*words: str) -> None:
    """Makes `ps` show these words in place of the parent's, where the kernel has room for them.

    Whoever looks for a run's process, a person or a runner after a restart, finds it by its folder.
    Linux shows what lies where the process's arguments were put when it began.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        begin, end = int(fields[45]), int(fields[46])
        shown = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    except (OSError, IndexError, ValueError):
        return
    at = next((n for n, word in enumerate(shown) if word == b"warm"), None)
    if at is None or end <= begin:
        return
    line = b"\0".join([*shown[:at], *(word.encode() for word in words)]) + b"\0"
    if len(line) <= end - begin:
        ctypes.memmove(begin, line.ljust(end - begin, b"\0"), end - begin)


def _without(arguments: list[str], flag: str) -> list[str]:
    if flag not in arguments:
        return arguments
    at = arguments.index(flag)
    return arguments[:at] + arguments[at + 2 :]
