"""The runner's side of a warm parent (`worker.parent` is the other one)."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from mage_dbt.redaction import hide
from mage_dbt.variables import from_json, to_json
from mage_dbt.worker.fork_server_process import ForkServers
from mage_dbt.worker.forker import LONGEST_MESSAGE, Forked, Forker, ParentGone

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
"""What dbt writes of a project when it has parsed it; other tools read it beside the results."""


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
        return json.dumps(asdict(self) | {"variables": to_json(self.variables)}).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Task:
        data = json.loads(text)
        variables = from_json(data.pop("variables"))
        return cls(**data | {"dbt_arguments": tuple(data["dbt_arguments"])}, variables=variables)


class Parent:
    """One parent process. Any method from any thread."""

    def __init__(
        self,
        task: Task,
        environment: Mapping[str, str],
        folder: Path,
        name: str,
        servers: ForkServers,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts it in `folder`, where its log is too. `name` is what `ps` shows.

        `tidy` is called once it has ended. Raises ParentGone when the runner stops, or when what is
        to be parsed cannot be said in one message.
        """
        message = task.to_bytes()
        if len(message) > LONGEST_MESSAGE:
            raise ParentGone("its variables are too long")
        self.name = name
        words = task.dbt_arguments
        self._manifest = Path(words[words.index("--target-path") + 1]) / MANIFEST
        self._tidy = tidy
        self.told: Future[dict[str, Any]] = Future()
        """What it answered once it has parsed; ParentGone when it ended before that."""
        self._kept = False
        self._log = (folder / "warm.log").open("a+b")
        try:
            started = servers.start(("warm", name), folder, environment, self._log)
        except BaseException:
            self._log.close()
            raise
        self._process = started.process
        self._answer = started.answer
        self._forker = Forker(f"warm {name}", started.process, started.connection)
        try:
            started.connection.send(message)
            threading.Thread(target=self._listen, name=f"warm {name}", daemon=True).start()
        except BaseException:
            self.close()
            self._process.wait()
            self._log.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> str:
        """Why it forks no more, or empty."""
        return self._forker.gone

    @property
    def children(self) -> int:
        """How many of its children are alive."""
        return self._forker.children

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
        return self._forker.fork(str(folder).encode(), descriptors)

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
        self._forker.close()
        if not self.told.done():
            self._process.kill()  # in the middle of parsing it hears nothing

    def _listen(self) -> None:
        with self._answer:
            line = self._answer.readline()
        if line.endswith("\n"):
            told = json.loads(line)
            hide(*told.pop("secrets"))
            if told["failed"]:
                self._process.wait()
            else:
                with suppress(FileNotFoundError):  # the project says `write_json: false`
                    self._manifest.chmod(0o444)
            self.told.set_result(told)
        with self._log:
            reason = self._forker.hear(self._log)
        self._tidy()
        if not self.told.done():
            self.told.set_exception(ParentGone(reason))
