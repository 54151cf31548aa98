"""The fork servers of one runner, each in a slot.

A fork server may serve a job only if both have the same `GraphKey`: the same files of the commit,
dbt arguments, profiles.yml, variables, and environment, all of it. dbt's parse reads nothing else,
so its manifest is the one that the job would have parsed. A job with another key gets a fork server
of its own.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from mage_dbt.commits.graph_key import GraphKey, dbt_environment
from mage_dbt.model.variables import from_json
from mage_dbt.workers import partial_parse
from mage_dbt.workers.fork_server import ForkServer, Task
from mage_dbt.workers.forker import ForkerGone
from mage_dbt.workers.zygote import Zygotes

log = logging.getLogger(__name__)

PARSING_AT_ONCE = 2
"""A start of dbt is all CPU. More of them at once only slow each other down."""

PLANNING_AT_ONCE = 4
"""Workers that select and compile at the same moment."""

AGAIN_SECONDS = 60.0
"""Between two starts of the newest commit's fork server that no run asks for."""

MEGABYTE = 1_000_000


@dataclass
class Slot:
    """One fork server, from when it is wanted until it has gone."""

    key: GraphKey
    server: Future[ForkServer] = field(default_factory=Future)
    waiting: int = 0
    """How many workers are about to fork from it."""
    used_at: float = field(default_factory=time.monotonic)
    old: bool = False
    """Whether it goes as soon as no run uses it."""
    live: bool = False
    """Whether it is the newest commit's own, which makes room for no other."""

    @property
    def ready(self) -> ForkServer | None:
        """Its fork server, once that has parsed."""
        if self.server.done() and self.server.exception() is None:
            return self.server.result()
        return None

    @property
    def alive(self) -> bool:
        """Whether it parses, or forks."""
        return not self.server.done() or (self.ready is not None and not self.ready.gone)

    @property
    def idle(self) -> bool:
        """Whether no run uses it."""
        server = self.ready
        return server is not None and not self.waiting and not server.children


class Slots:
    """The slots of one runner. Any thread may call any method."""

    def __init__(self, folder: Path, most: int, most_memory: int, zygotes: Zygotes) -> None:
        """At most `most` slots, and `most_memory` bytes in all; they parse in `folder`."""
        self._folder = folder
        self._most = most
        self._most_memory = most_memory
        self._zygotes = zygotes
        self._guard = threading.Lock()
        self._slots: dict[GraphKey, Slot] = {}
        self._begun_at: dict[GraphKey, float] = {}
        self._closed = False
        self.parsing = threading.Semaphore(PARSING_AT_ONCE)
        self.planning = threading.Semaphore(PLANNING_AT_ONCE)

    def adopt(self, key: GraphKey, server: ForkServer) -> None:
        """Takes a fork server that has parsed: jobs with this key fork from it from now on."""
        slot = Slot(key)
        slot.server.set_result(server)
        with self._guard:
            before = self._slots.get(key)
            self._slots[key] = slot
            closed = self._closed
        for gone in (before, slot if closed else None):
            if gone is not None:
                gone.server.add_done_callback(_close_once_ready)

    def keep(self, key: GraphKey, parsed: Path) -> None:
        """Makes this key's commit the live one: it has a fork server, started now if need be.

        Those of other commits, profiles or environments go, each with its last run. Call it
        repeatedly: a fork server that has died is replaced, at most once in AGAIN_SECONDS.
        """
        with self._guard:
            for slot in self._slots.values():
                slot.live = slot.key == key
                slot.old = slot.key.outdated_by(key)
            known = self._slots.get(key)
            since = time.monotonic() - self._begun_at.get(key, -AGAIN_SECONDS)
        self.sweep()
        if (known is not None and known.alive) or since < AGAIN_SECONDS:
            return
        try:
            slot = self.take(key, parsed)
        except ForkerGone as error:
            log.warning("no fork server for the newest commit: %s", error)
        else:
            slot.live = True
            self.give_back(slot)

    def take(self, key: GraphKey, parsed: Path) -> Slot:
        """The slot of this key, whose fork server may still parse. `give_back` it afterwards.

        Raises ForkerGone when there is no room, or when its fork server has died. Then another
        one is started for the next job.
        """
        with self._guard:
            slot = self._slots.get(key)
            gone = slot.ready.gone if slot and slot.ready else ""
            if slot is not None and not gone:
                slot.waiting += 1
                slot.used_at = time.monotonic()
                return slot
            if self._closed:
                raise ForkerGone("the runner stops")
            if slot is None:
                self._make_room()
            fresh = self._slots[key] = Slot(key, waiting=1)
            self._begun_at[key] = fresh.used_at
            for other in self._slots.values():
                if other is not fresh and other.key.differs_outside(key):
                    other.old, fresh.live, other.live = True, other.live or fresh.live, False
            fresh.live = fresh.live or (slot is not None and slot.live)
        threading.Thread(target=self._fill, args=(fresh, parsed), name="parse", daemon=True).start()
        if gone:
            self.give_back(fresh)
            raise ForkerGone(gone)
        return fresh

    def give_back(self, slot: Slot) -> None:
        """Says that the worker which took the slot has forked, or does not want to any more."""
        with self._guard:
            slot.waiting -= 1

    def sweep(self) -> None:
        """Ends the old fork servers that no run uses."""
        with self._guard:
            going = [slot for slot in self._slots.values() if slot.old and slot.idle]
            for slot in going:
                del self._slots[slot.key]
        for slot in going:
            slot.server.result().close()

    def close(self) -> None:
        """Ends all fork servers. Their workers go on."""
        with self._guard:
            self._closed = True
            slots = list(self._slots.values())
        for slot in slots:
            slot.server.add_done_callback(_close_once_ready)

    def _make_room(self) -> None:
        """Ends the fork servers that were not used for the longest time, until one more fits.

        Called with the guard held. Raises ForkerGone when those left are in use.
        """
        while True:
            servers = [slot.ready for slot in self._slots.values() if slot.ready]
            sizes = [server.memory for server in servers if server and not server.gone]
            # The next one is assumed to be as large as the largest there is.
            memory = sum(sizes) + max(sizes, default=0)
            if len(self._slots) < self._most and memory <= self._most_memory:
                return
            idle = [slot for slot in self._slots.values() if slot.idle and not slot.live]
            if not idle:
                raise ForkerGone(
                    f"the {len(self._slots)} fork servers there are have runs, and "
                    "RUNNER_FORK_SERVERS and RUNNER_FORK_SERVER_MEMORY_MB allow no more"
                )
            last = min(idle, key=lambda slot: (not slot.old, slot.used_at))
            del self._slots[last.key]
            last.server.result().close()

    def _fill(self, slot: Slot, parsed: Path) -> None:
        key = slot.key
        # Never the folder of an equal one before, which may be about to remove it.
        folder = self._folder / f"{parsed.parent.name}-{secrets.token_hex(6)}"
        server: ForkServer | None = None

        def remove_folder() -> None:
            shutil.rmtree(folder, ignore_errors=True)

        try:
            with self.parsing:
                target = folder / "target"
                target.mkdir(parents=True)
                partial_parse.bring(parsed, target)
                arguments = (
                    *key.dbt_arguments,
                    *("--target-path", str(target), "--log-path", str(folder / "logs")),
                )
                task = Task(arguments, from_json(key.variables))
                environment = dbt_environment(os.environ)
                now = GraphKey.of(key.project, key.dbt_arguments, task.variables, environment)
                if now != key:
                    raise ForkerGone("profile or environment have changed just now")
                name = str(parsed.parent)
                server = ForkServer(
                    task, environment, folder, name, self._zygotes, on_end=remove_folder
                )
                answer = server.parsed.result()
            if answer["failed"]:
                raise ForkerGone(f"dbt could not parse: {answer['message']}")
        except BaseException as error:
            with self._guard:
                if self._slots.get(key) is slot:
                    del self._slots[key]
            if server is None:
                remove_folder()
            else:
                server.close()
            reason = error if isinstance(error, ForkerGone) else ForkerGone(str(error))
            slot.server.set_exception(reason)
        else:
            slot.server.set_result(server)
            log.info("fork server %s: ready, %d MB", server.name, server.memory // MEGABYTE)


def _close_once_ready(server: Future[ForkServer]) -> None:
    if server.exception() is None:
        server.result().close()
