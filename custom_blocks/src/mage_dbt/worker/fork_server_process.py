"""How the runner starts `worker.dbt_process`: forked by a fork server, or executed.

The rule that decides whether a fork server may start one is equality: it was executed with exactly
the environment that the process is to have, all of it. So nothing that was read when dbt was
imported can be another than the process itself would have read. Else another fork server takes its
place. When one fails, for whatever reason, the process is executed: that takes longer, and is the
same.
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

from mage_dbt.worker.forker import (
    FORK_SECONDS,
    ROOM_FOR_COMMAND,
    Executed,
    Forked,
    Forker,
    ParentGone,
)
from mage_dbt.worker.started import COMMAND, Started

log = logging.getLogger(__name__)

IMPORT_SECONDS = 120.0
"""For importing dbt: 2.9 s on an idle machine. A fork server that takes longer is ended."""

AGAIN_SECONDS = 60.0
"""Between two fork servers for the same environment, when the first ended before it had forked."""


class ForkServers:
    """Those of one runner. Any method from any thread."""

    def __init__(self, name: str) -> None:
        """`name` is what `ps` shows of them. One is begun when it is first needed."""
        self._name = name
        self._guard = threading.Lock()
        self._newest: _ForkServer | None = None
        self._closed = False

    def begin(self, environment: Mapping[str, str]) -> None:
        """Has one for this environment import dbt, before a parent is wanted."""
        try:
            self._of(environment)
        except (ParentGone, OSError) as error:
            log.warning("no fork server: %s", error)

    def start(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        output: IO[bytes],
    ) -> Started:
        """A process in `folder`, whose standard error is `output`; `words` say what it does, and
        `ps` shows them.

        Raises ParentGone when the runner stops, and OSError when it cannot be executed either.
        """
        message = json.dumps({"words": list(words), "folder": str(folder)}).encode()
        try:
            server = self._of(environment)
            # Each try has descriptors of its own: a child nobody heard of may have another's.
            return Started.by(lambda given: server.fork(message, given), output)
        except (ParentGone, OSError) as error:
            if self._closed:
                raise
            said = "%s: started without the fork server, slower: %s"
            log.warning(said, " ".join(words), error)
        return Started.executed([*words, ROOM_FOR_COMMAND], folder, environment, output)

    def close(self) -> None:
        """Ends them; parents go on."""
        with self._guard:
            self._closed = True
            newest, self._newest = self._newest, None
        if newest is not None:
            newest.close()

    def _of(self, environment: Mapping[str, str]) -> _ForkServer:
        with self._guard:
            if self._closed:
                raise ParentGone("the runner stops")
            before = self._newest
            if before is not None and before.environment == environment:
                if not before.gone:
                    return before
                if not before.has_forked and before.age < AGAIN_SECONDS:
                    raise ParentGone(before.gone)
            self._newest = fresh = _ForkServer(self._name, environment)
        if before is not None:
            before.retire()
        return fresh


class _ForkServer(Forker):
    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.has_forked = False
        self._began = time.monotonic()
        connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # In memory: all that is wanted of it is its last words, for the runner's log.
        output = os.fdopen(os.memfd_create("fork server"), "w+b")
        with theirs:
            process = Executed(
                [*COMMAND, "fork-server", name, ROOM_FOR_COMMAND],
                stdin=theirs.fileno(),
                stdout=output.fileno(),
                stderr=output.fileno(),
                env=self.environment,
                cwd="/",
                start_new_session=True,
            )
        super().__init__(f"fork server {process.pid}", process, connection)
        threading.Thread(target=self._listen, args=(output,), name=self.name, daemon=True).start()
        log.info("%s: begun", self.name)

    @property
    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self._began

    def fork(
        self, message: bytes, descriptors: Sequence[int], seconds: float = FORK_SECONDS
    ) -> Forked:
        waits = seconds if self.has_forked else IMPORT_SECONDS
        child = super().fork(message, descriptors, waits)
        self.has_forked = True
        return child

    def _listen(self, output: IO[bytes]) -> None:
        with output:
            self.hear(output)
