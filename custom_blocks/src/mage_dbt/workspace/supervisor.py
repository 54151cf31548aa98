"""Starts the workspace's processes, starts again what dies or hangs, and stops them all.

Each is the child of a keeper (keeper.py), which sees to it that nothing survives. One thread here
watches one keeper. What each process is doing is written to `processes.json` for `status`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mage_dbt.errors import MachineError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.workspace import strays
from mage_dbt.workspace.keeper import Order, adopt_orphans
from mage_dbt.workspace.progress import Progress

LONGEST_DELAY = 30.0
"""Seconds between two tries to start a process that keeps dying: 1, 2, 4, … up to this."""

STEADY_SECONDS = 60.0
"""A process that lived so long has its next delay start from 1 s again."""

LARGEST_LOG = 20_000_000
"""Bytes; a longer log becomes `<name>.log.1`."""

PROBE_SECONDS = 10.0
"""How often a running process is asked whether it still answers."""


@dataclass(frozen=True)
class Program:
    """A process to keep running. `probe` returns nothing when it answers, else what is missing;
    `patience` is the seconds it may take until it does. `renew` gives the environment as it is now,
    asked before each start, so that a process that starts again finds secrets as they are now.
    With `liveness` it is ended and started again when it hangs."""

    name: str
    order: Order
    environment: Mapping[str, str]
    probe: Callable[[], str]
    patience: float = 60.0
    renew: Callable[[], Mapping[str, str]] | None = None
    liveness: Liveness | None = None


@dataclass(frozen=True)
class Liveness:
    """How a process that hangs is told from one that is slow. `answers` puts one question, waits
    for so many seconds, and says whether there was an answer, of any kind; one that answers nothing
    for `seconds` hangs."""

    answers: Callable[[float], bool]
    seconds: float


@dataclass
class _Kept:
    program: Program
    log: Path
    keeper: subprocess.Popen[bytes] | None = None
    since: str = ""
    restarts: int = 0
    state: str = "starting"
    seen: str = ""
    answered: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Supervisor:
    def __init__(self, home: Home, progress: Progress) -> None:
        self._home = home
        self._progress = progress
        self._kept: dict[str, _Kept] = {}
        self._guard = threading.RLock()
        self._stopping = threading.Event()
        # What a killed keeper orphans comes to us, not to init, and can be ended.
        adopt_orphans()

    def start(self, program: Program) -> None:
        """Starts it and keeps it running; `wait` tells when it answers."""
        kept = _Kept(program, self._home.logs / f"{program.name}.log")
        self._kept[program.name] = kept
        kept.thread = threading.Thread(target=self._keep, args=(kept,), daemon=True)
        kept.thread.start()

    def wait(self, name: str) -> None:
        """Waits until it answers for the first time.

        Raises MachineError with the end of its log when it ends before, or takes too long.
        """
        kept = self._kept[name]
        deadline = time.monotonic() + kept.program.patience
        with self._progress.during(f"waiting for {name} to answer"):
            while not kept.answered.wait(0.1):
                if kept.state == "failed":
                    raise MachineError(f"{name} did not start.\n{_end_of(kept.log)}")
                if time.monotonic() > deadline:
                    raise MachineError(
                        f"{name} did not answer within {kept.program.patience:.0f} s: {kept.seen}."
                        f"\n{_end_of(kept.log)}"
                    )

    def stop(self, order: Iterable[Iterable[str]]) -> None:
        """Stops everything: the names of one group at once, group after group."""
        self._stopping.set()
        for group in order:
            chosen = [self._kept[name] for name in group if name in self._kept]
            for kept in chosen:
                self._tell(kept)
            for kept in chosen:
                if kept.thread:
                    kept.thread.join()
        self._home.processes.unlink(missing_ok=True)

    def hurry(self) -> None:
        """During `stop`: no more patience with anything."""
        for kept in self._kept.values():
            self._tell(kept, times=2)

    def _tell(self, kept: _Kept, times: int = 1) -> None:
        with self._guard:
            if kept.keeper is None:
                return
            for _ in range(times):
                kept.keeper.send_signal(signal.SIGTERM)
                time.sleep(0.05 * (times - 1))

    def _keep(self, kept: _Kept) -> None:
        delay = 1.0
        while self._spawn(kept):
            began = time.monotonic()
            status = self._watch(kept, began)
            if self._stopping.is_set():
                break
            if not kept.answered.is_set():
                self._note(kept, "failed")
                return
            delay = 1.0 if time.monotonic() - began > STEADY_SECONDS else delay
            kept.restarts += 1
            self._note(kept, "restarting")
            self._progress.say(
                f"{kept.program.name} ended ({_describe(status)}); starting it again in "
                f"{delay:.0f} s. Its log: {kept.log}"
            )
            if self._stopping.wait(delay):
                break
            delay = min(delay * 2, LONGEST_DELAY)
        self._note(kept, "stopped")

    def _spawn(self, kept: _Kept) -> bool:
        program = kept.program
        environment = self._environment(program)
        with self._guard:
            if self._stopping.is_set():
                return False
            _cut(kept.log)
            with kept.log.open("ab") as log:
                kept.keeper = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "mage_dbt.workspace.keeper",
                        program.order.as_argument(),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={
                        **environment,
                        strays.MARKER: strays.mark(self._home, program.name),
                    },
                    cwd=self._home.root,
                    start_new_session=True,
                )
            kept.since = datetime.now(UTC).isoformat(timespec="seconds")
            self._note(kept, "starting")
            return True

    def _environment(self, program: Program) -> Mapping[str, str]:
        if program.renew is None:
            return program.environment
        try:
            return program.renew()
        except (WorkspaceError, OSError) as error:
            # With what it had it may still work, and says so itself if it does not.
            self._progress.say(f"{program.name} starts with the secrets it had: {error}")
            return program.environment

    def _watch(self, kept: _Kept, began: float) -> int:
        """Waits for the keeper's end, asking now and then whether its process answers.

        One that does not is ended when it hangs: only after it has answered, so never while it
        starts, and only when no question is answered however late, so never when it is slow.
        """
        assert kept.keeper is not None
        next_probe = 0.0
        silence: _Silence | None = None
        while kept.keeper.poll() is None and not self._stopping.wait(0.2):
            if time.monotonic() < next_probe or (silence and silence.lasts):
                continue
            _cut(kept.log)
            kept.seen = kept.program.probe()
            next_probe = time.monotonic() + (PROBE_SECONDS if kept.state == "up" else 0)
            if not kept.seen and kept.state != "up":
                if kept.restarts and kept.state == "starting":
                    seconds = time.monotonic() - began
                    self._progress.say(f"{kept.program.name} is back ({seconds:.0f} s)")
                self._note(kept, "up")
                kept.answered.set()
            elif kept.seen and kept.state == "up":
                self._note(kept, "not answering")
            if kept.state != "not answering" or kept.program.liveness is None:
                silence = None
            elif silence is None or silence.broken:
                silence = _Silence(kept.program.liveness)
            elif silence.is_over:
                self._progress.say(
                    f"{kept.program.name} has answered nothing for "
                    f"{kept.program.liveness.seconds:.0f} s ({kept.seen}); it is ended"
                )
                self._tell(kept)
                break
            else:
                silence.ask()
        status = kept.keeper.wait()
        if status < 0:
            # The keeper itself was killed, so what it kept is still there.
            strays.stop(strays.find(self._home, kept.program.name))
        return status

    def _note(self, kept: _Kept, state: str) -> None:
        with self._guard:
            kept.state = state
            report = [
                {
                    "name": one.program.name,
                    "pid": one.keeper.pid if one.keeper else None,
                    "since": one.since,
                    "restarts": one.restarts,
                    "state": one.state,
                    "log": str(one.log),
                }
                for one in self._kept.values()
            ]
            aside = self._home.processes.with_suffix(".new")
            try:
                aside.write_text(json.dumps(report, indent=1))
                aside.rename(self._home.processes)
            except OSError as error:  # a full disk must not end the watching
                self._progress.say(f"Cannot write {self._home.processes}: {error.strerror}")


class _Silence:
    """A process that does not answer in time is asked once more, with patience.

    Meanwhile nobody asks anything else: what is asked and given up waits there all the same, and
    would make a slow process slower.
    """

    def __init__(self, liveness: Liveness) -> None:
        self._liveness = liveness
        self._since = time.monotonic()
        self.ask()

    def ask(self) -> None:
        self.broken = False
        # In a thread of its own: whoever watches must hear of the process's end meanwhile.
        self._asked = threading.Thread(target=self._question, daemon=True)
        self._asked.start()

    @property
    def lasts(self) -> bool:
        """Whether the question still waits for its answer."""
        return self._asked.is_alive()

    @property
    def is_over(self) -> bool:
        """Whether nothing has come for so long that the process hangs."""
        return time.monotonic() - self._since >= self._liveness.seconds

    def _question(self) -> None:
        self.broken = self._liveness.answers(self._liveness.seconds)


def _cut(log: Path) -> None:
    """Copies a log that is too long aside and empties it; its process keeps it open and appends."""
    with suppress(OSError):  # the disk is full; what becomes of the log is the least of it
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return "\n".join([f"The end of {log}:", *(f"    {line}" for line in lines)])


def _describe(status: int) -> str:
    # A keeper gives its child's status as a shell does; a negative one is the keeper's own.
    number = status - 128 if status > 128 else -status
    if (status < 0 or status > 128) and number in set(signal.Signals):
        return f"killed by {signal.Signals(number).name}"
    return f"exit status {status}"
