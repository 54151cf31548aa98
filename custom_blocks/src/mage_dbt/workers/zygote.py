"""The runner's handle on zygotes: processes that have imported dbt and nothing else.

A zygote forks the processes that parse commits and those that look for left sessions. It may fork
a process only if it was executed with exactly the environment which that process is to have. So
nothing that dbt read while it was imported can differ. Else another zygote takes its place. When a
zygote fails, for whatever reason, the process is executed instead: the same result, but slower.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from mage_dbt.workers.child_process import (
    COMMAND,
    ROOM_FOR_COMMAND,
    Executed,
    Forked,
    Started,
)
from mage_dbt.workers.forker import FORK_SECONDS, Forker, ForkerGone

log = logging.getLogger(__name__)

IMPORT_SECONDS = 120.0
"""Longest time for importing dbt, which takes 2.9 s on an idle machine."""

AGAIN_SECONDS = 60.0
"""Between two zygotes for the same environment, when the first ended before it had forked."""


class Zygotes:
    """The zygotes of one runner. Any thread may call any method."""

    def __init__(self, name: str) -> None:
        """`name` is what `ps` shows. The first zygote starts when it is first needed."""
        self._name = name
        self._guard = threading.Lock()
        self._newest: _Zygote | None = None
        self._closed = False

    def begin(self, environment: Mapping[str, str]) -> None:
        """Starts a zygote for this environment before a process is wanted."""
        try:
            self._for(environment)
        except (ForkerGone, OSError) as error:
            log.warning("no zygote: %s", error)

    def start(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        output: IO[bytes],
    ) -> Started:
        """Starts a process in `folder` with the arguments `words` and the log `output`.

        Raises ForkerGone when the runner stops, OSError when it cannot be executed either.
        """
        message = json.dumps({"words": list(words), "folder": str(folder)}).encode()
        try:
            zygote = self._for(environment)
            # Each try has its own descriptors: a child that nobody knows may hold the others.
            return Started.by(lambda given: zygote.fork(message, given), output)
        except (ForkerGone, OSError) as error:
            if self._closed:
                raise
            log.warning("%s: started without the zygote, slower: %s", " ".join(words), error)
        return Started.executed([*words, ROOM_FOR_COMMAND], folder, environment, output)

    def close(self) -> None:
        """Ends the zygotes. What they have forked goes on."""
        with self._guard:
            self._closed = True
            newest, self._newest = self._newest, None
        if newest is not None:
            newest.close()

    def _for(self, environment: Mapping[str, str]) -> _Zygote:
        with self._guard:
            if self._closed:
                raise ForkerGone("the runner stops")
            before = self._newest
            if before is not None and before.environment == environment:
                if not before.gone:
                    return before
                if not before.has_forked and before.age < AGAIN_SECONDS:
                    raise ForkerGone(before.gone)
            self._newest = fresh = _Zygote(self._name, environment)
        if before is not None:
            before.retire()
        return fresh


class _Zygote(Forker):
    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.has_forked = False
        self._began = time.monotonic()
        connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # In memory: only its last line is wanted, for the runner's log.
        output = os.fdopen(os.memfd_create("zygote"), "w+b")
        with theirs:
            process = Executed(
                [*COMMAND, "zygote", name, ROOM_FOR_COMMAND],
                stdin=theirs.fileno(),
                stdout=output.fileno(),
                stderr=output.fileno(),
                env=self.environment,
                cwd="/",
                start_new_session=True,
            )
        super().__init__(f"zygote {process.pid}", process, connection)
        threading.Thread(target=self._run, args=(output,), name=self.name, daemon=True).start()
        log.info("%s: begun", self.name)

    @property
    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self._began

    def fork(
        self, message: bytes, descriptors: Sequence[int], seconds: float = FORK_SECONDS
    ) -> Forked:
        longest = seconds if self.has_forked else IMPORT_SECONDS
        child = super().fork(message, descriptors, longest)
        self.has_forked = True
        return child

    def _run(self, output: IO[bytes]) -> None:
        with output:
            self.listen(output)
