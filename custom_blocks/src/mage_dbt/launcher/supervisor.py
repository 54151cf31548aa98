"""Starts the workspace's programs, restarts what dies or hangs, and stops them all.

Each program is the child of a subreaper (subreaper.py), which leaves nothing behind. One thread
here watches one subreaper. The state of each is written to `processes.json` for `status`.
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

from mage_dbt.base.files import replace_file
from mage_dbt.base.processes import adopt_orphans, how_ended
from mage_dbt.errors import MachineError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.launcher import strays
from mage_dbt.launcher.progress import Progress
from mage_dbt.launcher.subreaper import Launch

LONGEST_DELAY = 30.0
"""Seconds before a program that keeps dying is restarted: 1, 2, 4, … up to this."""

STEADY_SECONDS = 60.0
"""The delay starts from 1 s again for a program that ran this long."""

LARGEST_LOG = 20_000_000
"""Bytes; a longer log becomes `<name>.log.1`."""

PROBE_SECONDS = 10.0
"""Between two probes of a program that answers."""

POLL_SECONDS = 0.2
"""Between two looks whether a program has ended."""


@dataclass(frozen=True)
class Program:
    """A program to keep running."""

    name: str
    launch: Launch
    environment: Mapping[str, str]
    probe: Callable[[], str]
    """Returns nothing when the program answers, else what is missing."""
    patience: float = 60.0
    """Seconds until the first answer."""
    renew: Callable[[], Mapping[str, str]] | None = None
    """The environment as it is now: a restarted program gets secrets that changed meanwhile."""
    liveness: Liveness | None = None
    """None: it is never restarted for hanging."""


@dataclass(frozen=True)
class Liveness:
    """How a program that hangs is told from one that is slow."""

    answers: Callable[[float], bool]
    """Asks once, waits so many seconds, and returns whether there was any answer at all."""
    seconds: float
    """A program that answers nothing for so long hangs."""


@dataclass
class _Child:
    program: Program
    log: Path
    subreaper: subprocess.Popen[bytes] | None = None
    since: str = ""
    restarts: int = 0
    state: str = "starting"
    missing: str = ""
    """What the last probe found missing."""
    answered: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Supervisor:
    """Keeps programs running until it is stopped."""

    def __init__(self, home: Home, progress: Progress) -> None:
        self._home = home
        self._progress = progress
        self._children: dict[str, _Child] = {}
        self._guard = threading.RLock()
        self._stopping = threading.Event()
        # What a killed subreaper orphans becomes our child, so that it can be ended.
        adopt_orphans()

    def start(self, program: Program) -> None:
        """Starts it and keeps it running; `wait` waits until it answers."""
        child = _Child(program, self._home.logs / f"{program.name}.log")
        self._children[program.name] = child
        child.thread = threading.Thread(target=self._keep, args=(child,), daemon=True)
        child.thread.start()

    def wait(self, name: str) -> None:
        """Waits until it answers for the first time.

        Raises MachineError with the end of its log when it ends before, or takes too long.
        """
        child = self._children[name]
        patience = child.program.patience
        deadline = time.monotonic() + patience
        with self._progress.during(f"waiting for {name} to answer"):
            while not child.answered.wait(0.1):
                if child.state == "failed":
                    raise MachineError(f"{name} did not start.\n{_end_of(child.log)}")
                if time.monotonic() > deadline:
                    raise MachineError(
                        f"{name} did not answer within {patience:.0f} s: {child.missing}."
                        f"\n{_end_of(child.log)}"
                    )

    def stop(self, order: Iterable[Iterable[str]]) -> None:
        """Stops all programs, one group after another; the names of a group at once."""
        self._stopping.set()
        for group in order:
            chosen = [self._children[name] for name in group if name in self._children]
            for child in chosen:
                self._ask_to_stop(child)
            for child in chosen:
                if child.thread:
                    child.thread.join()
        self._home.processes.unlink(missing_ok=True)

    def hurry(self) -> None:
        """During `stop`: ends everything at once."""
        for child in self._children.values():
            self._ask_to_stop(child, times=2)

    def _ask_to_stop(self, child: _Child, times: int = 1) -> None:
        with self._guard:
            if child.subreaper is None:
                return
            for _ in range(times):
                child.subreaper.send_signal(signal.SIGTERM)
                time.sleep(0.05 * (times - 1))

    def _keep(self, child: _Child) -> None:
        delay = 1.0
        while self._spawn(child):
            began = time.monotonic()
            status = self._watch(child, began)
            if self._stopping.is_set():
                break
            if not child.answered.is_set():
                self._note(child, "failed")
                return
            delay = 1.0 if time.monotonic() - began > STEADY_SECONDS else delay
            child.restarts += 1
            self._note(child, "restarting")
            self._progress.say(
                f"{child.program.name} ended ({_how_ended(status)}); starting it again in "
                f"{delay:.0f} s. Its log: {child.log}"
            )
            if self._stopping.wait(delay):
                break
            delay = min(delay * 2, LONGEST_DELAY)
        self._note(child, "stopped")

    def _spawn(self, child: _Child) -> bool:
        program = child.program
        environment = self._environment(program)
        with self._guard:
            if self._stopping.is_set():
                return False
            _cut(child.log)
            with child.log.open("ab") as log:
                child.subreaper = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "mage_dbt.launcher.subreaper",
                        program.launch.as_argument(),
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
            child.since = datetime.now(UTC).isoformat(timespec="seconds")
            self._note(child, "starting")
            return True

    def _environment(self, program: Program) -> Mapping[str, str]:
        if program.renew is None:
            return program.environment
        try:
            return program.renew()
        except (WorkspaceError, OSError) as error:
            # It may work with the old ones; if not, its own log says so.
            self._progress.say(f"{program.name} starts with the secrets it had: {error}")
            return program.environment

    def _watch(self, child: _Child, began: float) -> int:
        """Waits until the program ends, and probes it meanwhile; returns the subreaper's status.

        A program that hangs is ended. One that starts never hangs: it must have answered before.
        One that is slow never hangs: not one question may get an answer, however late.
        """
        assert child.subreaper is not None
        next_probe = 0.0
        silence: _Silence | None = None
        while child.subreaper.poll() is None and not self._stopping.wait(POLL_SECONDS):
            if time.monotonic() < next_probe or (silence and silence.lasts):
                continue
            _cut(child.log)
            child.missing = child.program.probe()
            next_probe = time.monotonic() + (PROBE_SECONDS if child.state == "up" else 0)
            if not child.missing and child.state != "up":
                if child.restarts and child.state == "starting":
                    seconds = time.monotonic() - began
                    self._progress.say(f"{child.program.name} is back ({seconds:.0f} s)")
                self._note(child, "up")
                child.answered.set()
            elif child.missing and child.state == "up":
                self._note(child, "not answering")
            if child.state != "not answering" or child.program.liveness is None:
                silence = None
            elif silence is None or silence.broken:
                silence = _Silence(child.program.liveness)
            elif silence.is_over:
                self._progress.say(
                    f"{child.program.name} has answered nothing for "
                    f"{child.program.liveness.seconds:.0f} s ({child.missing}); it is ended"
                )
                self._ask_to_stop(child)
                break
            else:
                silence.ask()
        status = child.subreaper.wait()
        if status < 0:
            # The subreaper itself was killed, so what it adopted is still there.
            strays.stop(strays.find(self._home, child.program.name))
        return status

    def _note(self, child: _Child, state: str) -> None:
        with self._guard:
            child.state = state
            report = [
                {
                    "name": each.program.name,
                    "pid": each.subreaper.pid if each.subreaper else None,
                    "since": each.since,
                    "restarts": each.restarts,
                    "state": each.state,
                    "log": str(each.log),
                }
                for each in self._children.values()
            ]
            try:
                replace_file(self._home.processes, json.dumps(report, indent=1))
            except OSError as error:  # a full disk must not end the watching
                self._progress.say(f"Cannot write {self._home.processes}: {error.strerror}")


class _Silence:
    """A program that did not answer in time is asked once more, with patience.

    Meanwhile nobody asks anything else: a question that was given up still waits in the program,
    and would make a slow one slower.
    """

    def __init__(self, liveness: Liveness) -> None:
        self._liveness = liveness
        self._since = time.monotonic()
        self.ask()

    def ask(self) -> None:
        self.broken = False
        # In a thread of its own: `_watch` must see the program's end meanwhile.
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
    """Copies a log that is too long aside and empties it; its program keeps it open and appends."""
    with suppress(OSError):  # the disk is full; the log matters least then
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return "\n".join([f"The end of {log}:", *(f"    {line}" for line in lines)])


def _how_ended(status: int) -> str:
    # A subreaper has its program's status as a shell has it; a negative status is its own.
    return how_ended(128 - status if status > 128 else status)
