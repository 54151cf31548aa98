"""The runner's handle on a fork server: the process that has parsed one commit and forks workers.

Its own side is `dbt/fork_server.py`.
"""

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

from mage_dbt.base.redaction import hide
from mage_dbt.model.variables import from_json, to_json
from mage_dbt.workers.child_process import Forked
from mage_dbt.workers.forker import LONGEST_MESSAGE, Forker, ForkerGone
from mage_dbt.workers.zygote import Zygotes

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
"""dbt writes it after parsing. Other tools read it beside a run's results."""


@dataclass(frozen=True)
class Task:
    """What a fork server is to parse."""

    dbt_arguments: tuple[str, ...]
    variables: Mapping[str, Any]
    packages: str = ""
    """The package store, to install the project's packages first; empty if they are installed."""
    describe: bool = False
    """Whether the answer describes the commit's models and nodes."""

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self) | {"variables": to_json(self.variables)}).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Task:
        data = json.loads(text)
        variables = from_json(data.pop("variables"))
        return cls(**data | {"dbt_arguments": tuple(data["dbt_arguments"])}, variables=variables)


class ForkServer:
    """One fork server. Any thread may call any method."""

    def __init__(
        self,
        task: Task,
        environment: Mapping[str, str],
        folder: Path,
        name: str,
        zygotes: Zygotes,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts it in `folder`, which also has its log. `name` is what `ps` shows.

        `on_end` is called once it has ended. Raises ForkerGone when the runner stops, or when the
        task does not fit into one message.
        """
        message = task.to_bytes()
        if len(message) > LONGEST_MESSAGE:
            raise ForkerGone("its variables are too long")
        self.name = name
        words = task.dbt_arguments
        self._manifest = Path(words[words.index("--target-path") + 1]) / MANIFEST
        self._on_end = on_end
        self.parsed: Future[dict[str, Any]] = Future()
        """Its answer once it has parsed; ForkerGone when it ended before that."""
        self._kept = False
        self._log = (folder / "warm.log").open("a+b")
        try:
            started = zygotes.start(("fork-server", name), folder, environment, self._log)
        except BaseException:
            self._log.close()
            raise
        self._process = started.process
        self._answer = started.answer
        self._forker = Forker(f"fork server {name}", started.process, started.connection)
        try:
            started.connection.send(message)
            threading.Thread(target=self._run, name=f"fork server {name}", daemon=True).start()
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
        """How many of its workers are alive."""
        return self._forker.children

    @property
    def memory(self) -> int:
        """Bytes of its own resident memory."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, unless `keep` was called."""
        if not self._kept:
            self.close()

    def keep(self) -> ForkServer:
        """Lets it outlive its `with` block; the caller ends it."""
        self._kept = True
        return self

    def fork(self, folder: Path, descriptors: Sequence[int]) -> Forked:
        """Forks a worker for the run in `folder`. Raises ForkerGone."""
        return self._forker.fork(str(folder).encode(), descriptors)

    def link_manifest(self, target: Path) -> None:
        """Links its manifest into a run's folder: no bytes are copied, and the file stays.

        It is a hard link, so nobody may write into it: that would change other runs' manifest.
        """
        try:
            (target / MANIFEST).hardlink_to(self._manifest)
        except FileNotFoundError:
            return  # the project says `write_json: false`
        except OSError as error:
            log.warning("%s has no %s: %s", target, MANIFEST, error.strerror)

    def close(self) -> None:
        """Lets it end. Its workers go on."""
        self._forker.close()
        if not self.parsed.done():
            self._process.kill()  # while it parses it reads no socket

    def _run(self) -> None:
        with self._answer:
            line = self._answer.readline()
        if line.endswith("\n"):
            answer = json.loads(line)
            hide(*answer.pop("secrets"))
            if answer["failed"]:
                self._process.wait()
            else:
                with suppress(FileNotFoundError):  # the project says `write_json: false`
                    self._manifest.chmod(0o444)
            self.parsed.set_result(answer)
        with self._log:
            reason = self._forker.listen(self._log)
        self._on_end()
        if not self.parsed.done():
            self.parsed.set_exception(ForkerGone(reason))
