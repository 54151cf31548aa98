"""The machine's accidents: dbt killed while it reads a commit, PostgreSQL away, many folders."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from mage_dbt.errors import Unavailable
from mage_dbt.run import RunState
from mage_dbt.runner.run_folders import KEPT
from mage_dbt.workspace.progress import wait_for
from tests.dbt.conftest import Stack, git_commit
from tests.live import free_ports

PROJECT = "borders"

PACKAGES = 60

BACK_SECONDS = 10.0
"""What docs/operations.md promises of a PostgreSQL that is back."""


class Gate:
    """A way to PostgreSQL that can be shut: then nothing answers at its port."""

    def __init__(self, port: int, behind: int) -> None:
        self._port = port
        self._behind = behind
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        assert self._listener is not None
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                ours, _ = listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self._behind))
                self._open += [ours, theirs]
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def gate(stack: Stack) -> Iterator[Gate]:
    (port,) = free_ports(1)
    gate = Gate(port, stack.settings.postgres_port)
    gate.open()
    url = stack.postgres.url("runner").replace(f":{stack.settings.postgres_port}/", f":{port}/")
    stack.restart_runner(WORKSPACE_DATABASE_URL=url)
    yield gate
    gate.shut()
    stack.restart_runner(signal.SIGKILL, WORKSPACE_DATABASE_URL=stack.postgres.url("runner"))


def parsing(stack: Stack, sha: str) -> psutil.Process | None:
    """The process in which dbt reads this commit for the first time."""
    folder = str(stack.home.commits / sha[:12])
    for process in psutil.process_iter(["cmdline"]):
        if any(word.startswith(folder) for word in process.info["cmdline"] or ()):
            return process
    return None


def kill_while_parsing(stack: Stack, sha: str, now: Callable[[], bool]) -> None:
    """kill -9 of the commit's dbt, as soon as it is `now`."""
    deadline = time.monotonic() + 60
    while True:
        process = parsing(stack, sha)
        if process is not None and now():
            process.send_signal(signal.SIGKILL)
            return
        assert time.monotonic() < deadline, "dbt was not seen to read the commit"
        time.sleep(0.002)


def with_packages(repository: Path) -> None:
    lines = ["packages:"]
    for number in range(1, PACKAGES + 1):
        folder = repository / "libs" / f"p{number:03d}"
        (folder / "macros").mkdir(parents=True)
        (folder / "dbt_project.yml").write_text(f'name: {folder.name}\nversion: "1.0"\n')
        (folder / "macros" / "one.sql").write_text(
            f"{{% macro one_{folder.name}() %}}1{{% endmacro %}}"
        )
        lines.append(f"  - local: libs/{folder.name}")
    (repository / "packages.yml").write_text("\n".join(lines) + "\n")
    (repository / "package-lock.yml").write_text("packages: []\nsha1_hash: of-no-file\n")


def test_a_dbt_that_is_killed_blames_nobody_and_leaves_no_half_of_the_packages(
    stack: Stack,
) -> None:
    with_packages(stack.repository)
    sha = git_commit(stack.repository, "Many packages")

    def some_are_there() -> bool:
        found = list(stack.home.commits.glob(f"{sha[:12]}-*/tree/dbt_packages/p003"))
        return bool(found)

    kill_while_parsing(stack, sha, some_are_there)
    told = stack.until("the accident to be told", lambda status: status["broken"] is not None)
    assert told["broken"]["by_machine"] and "SIGKILL" in told["broken"]["message"]
    assert not list(stack.home.packages.glob("*"))
    run = stack.run(select="label")
    assert run.state is RunState.SUCCESS
    assert any("is not ready, so this run uses" in text for text in run.warnings)
    live = stack.until(  # tried again by itself
        "the commit to be live", lambda status: status["live"]["sha"] == sha
    )
    assert live["broken"] is None and live["last_broken"] is None

    next_one = git_commit(stack.repository, "Nothing new")
    kill_while_parsing(stack, next_one, lambda: True)
    stack.until("the accident to be told", lambda status: status["broken"] is not None)
    live = stack.until("it to be live", lambda status: status["live"]["sha"] == next_one)
    assert live["last_broken"] is None
    (kept,) = stack.home.packages.iterdir()
    assert len(list(kept.iterdir())) == PACKAGES
    shutil.rmtree(stack.repository / "libs")
    for name in ("packages.yml", "package-lock.yml"):
        (stack.repository / name).unlink()
    stack.live(git_commit(stack.repository, "No packages"))


def test_the_folder_of_a_run_that_goes_on_stays_among_any_number_of_newer_ones(
    stack: Stack,
) -> None:
    text = (stack.repository / "models" / "label.sql").read_text()
    stack.live(stack.commit("Sleep", label="select 1 as label, pg_sleep(60)::text as slept"))
    run = stack.ask(select="label")
    stack.running(run, "pg_sleep")
    newer = [stack.home.runs / f"29991231-235959-{number:06x}" for number in range(KEPT + 5)]
    for folder in newer:
        folder.mkdir()

    def tidied() -> bool | str:
        left = sum(one.exists() for one in newer)
        return left == KEPT or f"{left} folders are left"

    wait_for("the oldest to be removed", tidied, 60, stack.progress)
    assert (stack.home.runs / run.id / "worker.log").exists()
    over = stack.client.cancel(run.id, "the test")
    assert over.state is RunState.CANCELLED, over.detail
    for folder in newer:
        shutil.rmtree(folder, ignore_errors=True)
    stack.live(stack.commit("Wake up", label=text))


def status_of(stack: Stack) -> dict[str, Any] | str:
    try:
        return stack.client.status()
    except Unavailable as error:
        return str(error)


def wait_until_it_works(stack: Stack) -> None:
    """From the moment PostgreSQL is back."""

    def works() -> bool | str:
        status = status_of(stack)
        if isinstance(status, str):
            return status
        return not status["ledger_error"] or str(status["ledger_error"])

    wait_for("the ledger to be reached again", works, BACK_SECONDS, stack.progress)


def test_a_runner_finds_postgresql_again_within_seconds_however_long_it_was_away(
    stack: Stack, gate: Gate
) -> None:
    began = time.monotonic()
    gate.shut()
    # Tries that are twice as far apart each time would be at 15 s and 31 s.
    wait_for(
        "PostgreSQL to have been away for long",
        lambda: time.monotonic() - began > 17 or "not yet",
        30,
        stack.progress,
    )
    gate.open()
    wait_until_it_works(stack)
    assert stack.run(select="label").state is RunState.SUCCESS

    gate.shut()
    before = stack.process("runner")
    child = psutil.Process(before["pid"]).children()[0]
    os.kill(child.pid, signal.SIGKILL)
    log = stack.home.logs / "runner.log"
    said = log.read_text().count("waiting for PostgreSQL")

    def waits() -> bool | str:
        return log.read_text().count("waiting for PostgreSQL") > said or "it does not say so"

    wait_for("the runner to wait", waits, 30, stack.progress)
    gate.open()
    wait_until_it_works(stack)
    assert stack.process("runner")["restarts"] == before["restarts"] + 1
    assert stack.run(select="label").state is RunState.SUCCESS
