"""The runner's side of a warm parent (`worker.parent` is the other one)."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from mage_dbt.worker.process import UNKNOWN, how_ended

log = logging.getLogger(__name__)

LONGEST_MESSAGE = 131_072
"""Bytes; Linux takes messages of up to 208 KB on such a socket unless it is told otherwise."""

FORK_SECONDS = 20.0
"""A fork takes 15 ms; a machine that swaps may need seconds. A parent that is slower is ended."""

STATUS_SECONDS = 2.0
"""From a child's end until its parent has told how it ended, or never will."""

MANIFEST = "manifest.json"
"""What dbt writes of a project when it has parsed it; other tools read it beside the results."""

ROOM_FOR_COMMAND = " " * 300
"""The last argument of a parent: its children write their own command line over all of them."""


class ParentGone(Exception):
    """The parent cannot be had; the text says why."""


@dataclass(frozen=True)
class Task:
    """What a parent is to parse."""

    dbt_arguments: tuple[str, ...]
    variables: Mapping[str, Any]
    packages: str = ""
    """The store of packages, to bring the project's first; empty where they are there."""
    describe: bool = False
    """Whether the answer tells the commit's models and nodes."""

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self) | {"variables": dict(self.variables)}).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Task:
        data = json.loads(text)
        return cls(**data | {"dbt_arguments": tuple(data["dbt_arguments"])})


class Forked:
    """A process that a parent of ours forked; see `worker.process.Child`.

    The pidfd tells of its end even when the parent is gone; only then nobody knows its status.
    """

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._code: Future[int] = Future()

    def __del__(self) -> None:
        os.close(self._pidfd)

    @property
    def pid(self) -> int:
        return self._pid

    def poll(self) -> int | None:
        return self.wait(0) if self._over(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired when it has not ended by then."""
        if not self._over(timeout):
            raise subprocess.TimeoutExpired(f"process {self._pid}", timeout or 0)
        try:
            return self._code.result(STATUS_SECONDS)
        except TimeoutError:
            self.tell(UNKNOWN)
            return self._code.result()

    def tell(self, code: int) -> None:
        """Its exit status, as far as it is known; only the first time counts."""
        with suppress(InvalidStateError):
            self._code.set_result(code)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _over(self, seconds: float | None) -> bool:
        watch = select.poll()
        watch.register(self._pidfd, select.POLLIN)
        return bool(watch.poll(None if seconds is None else seconds * 1000))


class Parent:
    """One parent process. Any method from any thread."""

    def __init__(
        self,
        task: Task,
        environment: Mapping[str, str],
        folder: Path,
        name: str,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts it in `folder`, where its log is too. `name` is what `ps` shows.

        `tidy` is called once it has ended.
        """
        self.name = name
        words = task.dbt_arguments
        self._manifest = Path(words[words.index("--target-path") + 1]) / MANIFEST
        self._tidy = tidy
        self.told: Future[dict[str, Any]] = Future()
        """What it answered once it has parsed; ParentGone when it ended before that."""
        self._guard = threading.Lock()
        self._asked: deque[Future[Forked]] = deque()
        self._children: dict[int, Forked] = {}
        self._gone = ""
        self._kept = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Before there is a process: what cannot be sent leaves none behind.
            self._socket.send(task.to_bytes())
            self._log = (folder / "warm.log").open("a+b")
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mage_dbt.worker.dbt_process"),
                    *("warm", name, ROOM_FOR_COMMAND),
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
                text=True,
            )
        try:
            threading.Thread(target=self._listen, name=f"warm {name}", daemon=True).start()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> str:
        """Why it forks no more, or empty."""
        return self._gone

    @property
    def children(self) -> int:
        """How many of its children are alive."""
        with self._guard:
            return len(self._children) + len(self._asked)

    @property
    def memory(self) -> int:
        """Bytes of its own resident memory."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def __enter__(self) -> Parent:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, unless somebody has taken it over by `keep`."""
        if not self._kept:
            self.close()

    def keep(self) -> Parent:
        """From now on whoever calls this ends it: it outlives the block that began it."""
        self._kept = True
        return self

    def fork(self, folder: Path, descriptors: Sequence[int]) -> Forked:
        """A child for the run in `folder`. Raises ParentGone."""
        answer: Future[Forked] = Future()
        with self._guard:
            if self._gone:
                raise ParentGone(self._gone)
            self._asked.append(answer)
            try:
                socket.send_fds(self._socket, [str(folder).encode()], descriptors)
            except OSError as error:
                self._asked.remove(answer)
                raise ParentGone(f"it takes no more jobs: {error.strerror}") from None
        try:
            return answer.result(FORK_SECONDS)
        except TimeoutError:
            answer.cancel()
            self._process.kill()
            raise ParentGone(f"it did not fork within {FORK_SECONDS:.0f} s") from None

    def leave_manifest(self, target: Path) -> None:
        """Puts what it has parsed into a run's folder, as a hard link: no bytes, and it stays.

        So nobody may write into it, which would change what other runs have.
        """
        try:
            (target / MANIFEST).hardlink_to(self._manifest)
        except FileNotFoundError:
            return  # the project says `write_json: false`
        except OSError as error:
            log.warning("%s has no %s: %s", target, MANIFEST, error.strerror)

    def close(self) -> None:
        """Lets it end; its children, if there are any, go on."""
        with self._guard:
            self._gone = self._gone or "it is not needed any more"
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if not self.told.done():
            self._process.kill()  # in the middle of parsing it hears nothing

    def _listen(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self._process.stdout.close()
        if line.endswith("\n"):
            told = json.loads(line)
            if told["failed"]:
                self._process.wait()
            else:
                with suppress(FileNotFoundError):  # the project says `write_json: false`
                    self._manifest.chmod(0o444)
            self.told.set_result(told)
            try:
                self._hear()
            except Exception:  # no descriptor was left for a child's, say: it could not go on
                log.exception("warm %s", self.name)
                self._process.kill()
        code = self._process.wait()
        with self._log:
            self._log.seek(0)
            words = self._log.read().decode(errors="replace").strip().splitlines()
        self._tidy()
        reason = " ".join([f"it ended ({how_ended(code)})", *words[-1:]])
        with self._guard:
            self._gone = self._gone or reason
            asked, children = list(self._asked), list(self._children.values())
            self._asked.clear()
            self._children.clear()
            self._socket.close()
        for one in asked:
            if one.set_running_or_notify_cancel():
                one.set_exception(ParentGone(self._gone))
        for child in children:
            child.tell(UNKNOWN)
        if not self.told.done():
            self.told.set_exception(ParentGone(reason))
        log.info("warm %s: %s", self.name, self._gone)

    def _hear(self) -> None:
        """Until it has ended, which is not left to be seen by the socket alone."""
        ended = os.pidfd_open(self.pid)
        watch = select.poll()
        for one in (self._socket.fileno(), ended):
            watch.register(one, select.POLLIN)
        try:
            while self._socket.fileno() in dict(watch.poll()) and self._hear_one():
                pass
        finally:
            os.close(ended)

    def _hear_one(self) -> bool:
        """Takes one message; False at the end."""
        try:
            text, given, _, _ = socket.recv_fds(
                self._socket, LONGEST_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return False
        if not text:
            return False
        said = json.loads(text)
        with self._guard:
            if "forked" in said:
                child = Forked(said["forked"], given[0])
                asked = self._asked.popleft()
                if asked.set_running_or_notify_cancel():
                    self._children[child.pid] = child
                    asked.set_result(child)
                else:
                    child.kill()  # nobody waits for it any more
            elif (ended := self._children.pop(said["ended"], None)) is not None:
                ended.tell(said["code"])
        return True
