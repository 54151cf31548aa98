"""Warm workers: each is forked from a parent that has parsed the same things already.

The rule that decides whether a parent may serve a job is equality (`Key`): the same commit's files,
the same dbt arguments (project, profile, target), the same profiles.yml, the same variables and the
same environment, all of it. dbt's parse reads nothing else of the job, so the parent's manifest is
the one the job would have parsed. A job that differs in any of it gets a parent that parses for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for_first
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from mage_dbt.errors import SettingError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.plan import Plan
from mage_dbt.settings import Settings
from mage_dbt.variables import from_json, to_yaml
from mage_dbt.worker import Job, partial_parse
from mage_dbt.worker.cold import ColdWorker, dbt_environment
from mage_dbt.worker.fork_server_process import ForkServers
from mage_dbt.worker.forker import ParentGone
from mage_dbt.worker.parent_process import Parent, Task
from mage_dbt.worker.process import LOG_FILE, ProcessWorker
from mage_dbt.worker.started import Started

log = logging.getLogger(__name__)

PARSING_AT_ONCE = 2
"""A start of dbt is all CPU; more of them at once only make each slower."""

PLANNING_AT_ONCE = 4
"""Forks that select and compile at the same moment."""

LOOK_SECONDS = 0.1

AGAIN_SECONDS = 60.0
"""Between two starts of the newest commit's parent that no run asks for."""

MEGABYTE = 1_000_000

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Key:
    """All that a parse depends on. Two jobs with the same key have the same manifest."""

    project: Path
    """The folder of one commit's export, which nothing changes."""
    dbt_arguments: tuple[str, ...]
    variables: str
    profiles: str
    environment: str

    @classmethod
    def of(
        cls,
        project: Path,
        dbt_arguments: tuple[str, ...],
        variables: Mapping[str, Any],
        environment: Mapping[str, str],
    ) -> Key:
        """Profiles and environment as digests: nothing of them is to be seen in a log."""
        folder = Path(dbt_arguments[dbt_arguments.index("--profiles-dir") + 1])
        return cls(
            project=project,
            dbt_arguments=dbt_arguments,
            variables=to_yaml(variables),
            profiles=_digest((folder / "profiles.yml").read_bytes()),
            environment=_digest(json.dumps(sorted(environment.items())).encode()),
        )

    @property
    def digest(self) -> str:
        """The same for the same graph (hex)."""
        return _digest(repr(self).encode())

    def differs_outside(self, other: Key) -> bool:
        """Whether it is the same job but for profile and environment, which have changed since."""
        return self != other and (self.project, self.dbt_arguments, self.variables) == (
            other.project,
            other.dbt_arguments,
            other.variables,
        )

    def outdated_by(self, newest: Key) -> bool:
        """Whether it is of another commit, profile or environment than the newest commit's key."""
        return (self.project, self.profiles, self.environment) != (
            newest.project,
            newest.profiles,
            newest.environment,
        )


@dataclass
class _Place:
    """One parent in the store, from when it is wanted until it has gone."""

    key: Key
    parent: Future[Parent] = field(default_factory=Future)
    waiting: int = 0
    """How many workers are about to fork from it."""
    used_at: float = field(default_factory=time.monotonic)
    old: bool = False
    """Whether it goes as soon as nothing runs on it."""
    live: bool = False
    """Whether it is the newest commit's own, which makes room for no other."""

    @property
    def ready(self) -> Parent | None:
        if self.parent.done() and self.parent.exception() is None:
            return self.parent.result()
        return None

    @property
    def alive(self) -> bool:
        """Whether it parses, or forks."""
        return not self.parent.done() or (self.ready is not None and not self.ready.gone)

    @property
    def idle(self) -> bool:
        parent = self.ready
        return parent is not None and not self.waiting and not parent.children


class Warm:
    """The parents of one runner. Any method from any thread."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._most = settings.runner_warm_parents
        self._most_memory = settings.runner_warm_memory_mb * MEGABYTE
        self._folder = home.warm
        self.fork_servers = ForkServers(str(home.warm))
        self._guard = threading.Lock()
        self._places: dict[Key, _Place] = {}
        self._begun_at: dict[Key, float] = {}
        self._closed = False
        self.parsing = threading.Semaphore(PARSING_AT_ONCE)
        self.planning = threading.Semaphore(PLANNING_AT_ONCE)

    def begin(self) -> None:
        """Has dbt imported in the background, for the first parent."""
        with suppress(SettingError):  # a secret cannot be read: each run says so
            self.fork_servers.begin(dbt_environment(os.environ))

    def worker(self, job: Job) -> WarmWorker:
        return WarmWorker(job, self)

    def prepare(self, task: Task, folder: Path, environment: Mapping[str, str]) -> Parent:
        """A parent that parses a commit for the first time; ends with the `with` it is taken by,
        unless it is kept for `adopt`."""
        return Parent(task, environment, folder, str(folder), self.fork_servers)

    def adopt(self, key: Key, parent: Parent) -> None:
        """From now on jobs with this key fork from this parent, which has parsed."""
        place = _Place(key)
        place.parent.set_result(parent)
        with self._guard:
            before = self._places.get(key)
            self._places[key] = place
            closed = self._closed
        for one in (before, place if closed else None):
            if one is not None:
                one.parent.add_done_callback(_close_when_there)

    def keep(self, key: Key, parsed: Path) -> None:
        """This key's commit is live: it has a parent, begun now if need be; those of others go, and
        those of another profile or environment.

        Each goes when the last run on it has ended. Called again and again: a parent that has died
        is replaced, one that keeps dying no more than once in AGAIN_SECONDS.
        """
        with self._guard:
            for place in self._places.values():
                place.live = place.key == key
                place.old = place.key.outdated_by(key)
            known = self._places.get(key)
            begun = time.monotonic() - self._begun_at.get(key, -AGAIN_SECONDS)
        self.sweep()
        if (known is not None and known.alive) or begun < AGAIN_SECONDS:
            return
        try:
            place = self.place(key, parsed)
        except ParentGone as error:
            log.warning("no warm parent for the newest commit: %s", error)
        else:
            place.live = True
            self.leave(place)

    def place(self, key: Key, parsed: Path) -> _Place:
        """The parent of this key, perhaps still parsing; `leave` it afterwards.

        Raises ParentGone when there can be none, or when there was one that has died; then another
        one is begun for the next.
        """
        with self._guard:
            place = self._places.get(key)
            gone = place.ready.gone if place and place.ready else ""
            if place is not None and not gone:
                place.waiting += 1
                place.used_at = time.monotonic()
                return place
            if self._closed:
                raise ParentGone("the runner stops")
            if place is None:
                self._make_room()
            fresh = self._places[key] = _Place(key, waiting=1)
            self._begun_at[key] = fresh.used_at
            for other in self._places.values():
                if other is not fresh and other.key.differs_outside(key):
                    other.old, fresh.live, other.live = True, other.live or fresh.live, False
            fresh.live = fresh.live or (place is not None and place.live)
        threading.Thread(
            target=self._fill, args=(fresh, parsed), name="warm parse", daemon=True
        ).start()
        if gone:
            self.leave(fresh)
            raise ParentGone(gone)
        return fresh

    def leave(self, place: _Place) -> None:
        with self._guard:
            place.waiting -= 1

    def sweep(self) -> None:
        """Ends the parents that are old and that nothing runs on."""
        with self._guard:
            going = [one for one in self._places.values() if one.old and one.idle]
            for one in going:
                del self._places[one.key]
        for one in going:
            one.parent.result().close()

    def close(self) -> None:
        with self._guard:
            self._closed = True
            places = list(self._places.values())
        for one in places:
            one.parent.add_done_callback(_close_when_there)
        self.fork_servers.close()

    def _make_room(self) -> None:
        """Ends parents that were not used for the longest time until one more may come.

        Called with the guard held. Raises ParentGone when those left are in use.
        """
        while True:
            parents = [one.ready for one in self._places.values() if one.ready]
            sizes = [one.memory for one in parents if one and not one.gone]
            # The next one is taken to be as large as the largest that is there.
            memory = sum(sizes) + max(sizes, default=0)
            if len(self._places) < self._most and memory <= self._most_memory:
                return
            idle = [one for one in self._places.values() if one.idle and not one.live]
            if not idle:
                raise ParentGone(
                    f"the {len(self._places)} warm parents there are have runs, and "
                    "RUNNER_WARM_PARENTS and RUNNER_WARM_MEMORY_MB allow no more"
                )
            last = min(idle, key=lambda one: (not one.old, one.used_at))
            del self._places[last.key]
            last.parent.result().close()

    def _fill(self, place: _Place, parsed: Path) -> None:
        key = place.key
        # Of its own even among equal ones: the one before may be about to remove its folder.
        folder = self._folder / f"{parsed.parent.name}-{secrets.token_hex(6)}"
        parent: Parent | None = None

        def tidy() -> None:
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
                now = Key.of(key.project, key.dbt_arguments, task.variables, environment)
                if now != key:
                    raise ParentGone("profile or environment have changed just now")
                name = str(parsed.parent)
                parent = Parent(task, environment, folder, name, self.fork_servers, tidy)
                told = parent.told.result()
            if told["failed"]:
                raise ParentGone(f"dbt could not parse: {told['message']}")
        except BaseException as error:
            with self._guard:
                if self._places.get(key) is place:
                    del self._places[key]
            if parent is None:
                tidy()
            else:
                parent.close()
            reason = error if isinstance(error, ParentGone) else ParentGone(str(error))
            place.parent.set_exception(reason)
        else:
            place.parent.set_result(parent)
            log.info("warm %s: ready, %d MB", parent.name, parent.memory // MEGABYTE)


class WarmWorker:
    """See `Worker`. Forked when it plans; cold, and saying so, where that is not possible."""

    def __init__(self, job: Job, warm: Warm) -> None:
        job.write()
        self._job = job
        self._warm = warm
        self._stopping = threading.Lock()
        self._stopped: Future[None] = Future()
        self._inner: ProcessWorker | None = None
        self.how = "warm"

    @property
    def pid(self) -> int:
        assert self._inner is not None
        return self._inner.pid

    def plan(self) -> Plan:
        plan = self._asked(ProcessWorker.plan)
        if self.how == "warm":
            return plan
        said = f"dbt was started anew for this run, which takes longer: {self.how[6:]}."
        return replace(plan, warnings=(*plan.warnings, said))

    def describe(self) -> dict[str, Any]:
        """See `ProcessWorker.describe`."""
        return self._asked(ProcessWorker.describe)

    def _asked(self, what: Callable[[ProcessWorker], Answer]) -> Answer:
        try:
            return self._asked_warm(what)
        except ParentGone as error:
            self.how = f"cold: {error}"
        except WorkspaceError as error:
            if self._inner is None or not self._inner.killed:
                raise
            _refuse_when(self._stopped)
            # An accident, and nothing of the job has begun: once more.
            self._inner.close()
            self.how = f"cold: {error.message.removesuffix('.')}"
        log.warning("run %s is %s", self._job.run, self.how)
        with _Turn(self._warm.parsing, self._stopped):
            return what(self._begun(lambda: ColdWorker(self._job)))

    def _asked_warm(self, what: Callable[[ProcessWorker], Answer]) -> Answer:
        job = self._job
        if job.fresh:
            raise ParentGone("its configuration reads the clock as dbt parses")
        environment = dbt_environment(os.environ)
        key = Key.of(job.project, job.dbt_arguments, job.variables, environment)
        place = self._warm.place(key, job.parsed)
        try:
            either: list[Future[Any]] = [place.parent, self._stopped]
            wait_for_first(either, return_when=FIRST_COMPLETED)
            _refuse_when(self._stopped)
            parent = place.parent.result()
            with _Turn(self._warm.planning, self._stopped):
                answer = what(self._begun(lambda: _forked(job, parent)))
            parent.leave_manifest(job.folder / "target")
            return answer
        finally:
            self._warm.leave(place)

    def hold(self, descriptor: int) -> None:
        self._process.hold(descriptor)

    def start(self) -> None:
        self._process.start()

    def alive(self) -> bool:
        return self._inner is not None and self._inner.alive()

    def stop(self) -> None:
        with self._stopping:
            if not self._stopped.done():
                self._stopped.set_result(None)
            inner = self._inner
        if inner is not None:
            inner.stop()

    def ending(self) -> str:
        return self._process.ending()

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()
        self._warm.sweep()

    @property
    def _process(self) -> ProcessWorker:
        assert self._inner is not None, "it has not planned"
        return self._inner

    def _begun(self, begin: Any) -> ProcessWorker:
        with self._stopping:
            _refuse_when(self._stopped)
            inner: ProcessWorker = begin()
            self._inner = inner
        return inner


def _forked(job: Job, parent: Parent) -> ProcessWorker:
    with (job.folder / LOG_FILE).open("ab") as log:
        return ProcessWorker(job, Started.by(lambda given: parent.fork(job.folder, given), log))


class _Turn:
    """A place of a semaphore, or WorkspaceError when the worker is stopped first."""

    def __init__(self, semaphore: threading.Semaphore, stopped: Future[None]) -> None:
        self._semaphore = semaphore
        self._stopped = stopped

    def __enter__(self) -> None:
        while not self._semaphore.acquire(timeout=LOOK_SECONDS):
            _refuse_when(self._stopped)

    def __exit__(self, *_: object) -> None:
        self._semaphore.release()


def _refuse_when(stopped: Future[None]) -> None:
    if stopped.done():
        raise WorkspaceError("The worker was stopped before it had planned.")


def _close_when_there(parent: Future[Parent]) -> None:
    if parent.exception() is None:
        parent.result().close()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
