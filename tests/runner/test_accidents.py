"""The machine's accidents: dbt killed while it reads a commit, PostgreSQL away, many folders."""

from __future__ import annotations

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
from mage_dbt.model.run import RunState
from mage_dbt.runner.run_folders import KEPT
from tests.harness.models import sleepy
from tests.harness.ports import free_ports
from tests.harness.repository import git_commit
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_for_time, wait_until

PROJECT = "borders"

PACKAGES = 60


class Gate:
    """A way to PostgreSQL that can be shut: then whoever comes is sent away."""

    def __init__(self, port: int, behind: int) -> None:
        self._behind = behind
        self._open: list[socket.socket] = []
        self._is_open = True
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        self._is_open = True

    def shut(self) -> None:
        with self._guard:
            self._is_open = False
            self._close(self._open)
            self._open = []

    def remove(self) -> None:
        self._close([self._listener, *self._open])

    def _close(self, sockets: list[socket.socket]) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                with self._guard:
                    if not self._is_open:
                        ours.close()
                        continue
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
def gate(runner: Runner) -> Iterator[Gate]:
    (port,) = free_ports(1)
    gate = Gate(port, runner.settings.postgres_port)
    url = runner.postgres.url("runner").replace(f":{runner.settings.postgres_port}/", f":{port}/")
    runner.restart_runner(WORKSPACE_DATABASE_URL=url)
    yield gate
    gate.remove()
    runner.restart_runner(signal.SIGKILL, WORKSPACE_DATABASE_URL=runner.postgres.url("runner"))


def parsing(runner: Runner, sha: str) -> psutil.Process | None:
    """The process in which dbt reads this commit for the first time."""
    folder = str(runner.home.commits / sha[:12])
    for process in psutil.process_iter(["cmdline"]):
        if any(word.startswith(folder) for word in process.info["cmdline"] or ()):
            return process
    return None


def kill_while_parsing(runner: Runner, sha: str, now: Callable[[], bool]) -> None:
    """kill -9 of the commit's dbt, as soon as it is `now`. It stands still during a look."""
    deadline = time.monotonic() + SECONDS
    while True:
        process = parsing(runner, sha)
        with suppress(psutil.NoSuchProcess):
            if process is not None:
                process.suspend()
                if now():
                    process.kill()
                    return
                process.resume()
        assert time.monotonic() < deadline, "dbt was not seen to read the commit"
        time.sleep(0.002)


def with_packages(repository: Path, count: int = PACKAGES) -> None:
    lines = ["packages:"]
    for number in range(1, count + 1):
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
    runner: Runner,
) -> None:
    with_packages(runner.repository)
    sha = git_commit(runner.repository, "Many packages")

    def some_are_there() -> bool:
        found = list(runner.home.commits.glob(f"{sha[:12]}-*/tree/dbt_packages/p003"))
        return bool(found)

    kill_while_parsing(runner, sha, some_are_there)
    told = runner.until("the accident to be told", lambda status: status["broken"] is not None)
    assert told["broken"]["by_machine"] and "SIGKILL" in told["broken"]["message"]
    # A kill that came late finds them all there, or some of them beside the name they would get.
    for kept in runner.home.packages.iterdir():
        assert kept.suffix == ".new" or (kept / "package-lock.yml").is_file()
    run = runner.run(select="label")
    assert run.state is RunState.SUCCESS
    assert any("is not ready, so this run uses" in text for text in run.warnings)
    live = runner.until(  # tried again by itself
        "the commit to be live", lambda status: status["live"]["sha"] == sha
    )
    assert live["broken"] is None and live["last_broken"] is None

    next_one = git_commit(runner.repository, "Nothing new")
    kill_while_parsing(runner, next_one, lambda: True)
    runner.until("the accident to be told", lambda status: status["broken"] is not None)
    live = runner.until("it to be live", lambda status: status["live"]["sha"] == next_one)
    assert live["last_broken"] is None
    (installed,) = runner.home.commits.glob(f"{next_one[:12]}-*/tree/dbt_packages")
    assert len(list(installed.iterdir())) == PACKAGES
    without_packages(runner)


def without_packages(runner: Runner) -> None:
    shutil.rmtree(runner.repository / "libs")
    for name in ("packages.yml", "package-lock.yml"):
        (runner.repository / name).unlink()
    runner.live(git_commit(runner.repository, "No packages"))


def test_nobody_touches_the_store_of_packages_while_another_does(runner: Runner) -> None:
    store = runner.home.packages
    with_packages(runner.repository, 2)
    before = set(store.iterdir())
    inode = f":{store.stat().st_ino} "

    def waits() -> bool | str:
        locks = Path("/proc/locks").read_text().splitlines()
        blocked = [line for line in locks if "-> FLOCK" in line]
        return any(inode in line for line in blocked) or f"nobody waits for the store: {blocked}"

    with runner.packages_held():
        sha = git_commit(runner.repository, "Two packages")
        wait_until("the commit's dbt to wait", waits)
        assert set(store.iterdir()) == before
    runner.live(sha)
    assert len(set(store.iterdir()) - before) == 1
    without_packages(runner)


def test_the_folder_of_a_run_that_goes_on_stays_among_any_number_of_newer_ones(
    runner: Runner,
) -> None:
    text = (runner.repository / "models" / "label.sql").read_text()
    runner.live(runner.commit("Sleep", label=sleepy()))
    run = runner.ask(select="label")
    runner.running(run, "pg_sleep")
    newer = [runner.home.runs / f"29991231-235959-{number:06x}" for number in range(KEPT + 5)]
    for folder in newer:
        folder.mkdir()

    def tidied() -> bool | str:
        left = sum(one.exists() for one in newer)
        return left == KEPT or f"{left} folders are left"

    wait_until("the oldest to be removed", tidied)
    assert (runner.home.runs / run.id / "worker.log").exists()
    over = runner.client.cancel(run.id, "the test")
    assert over.state is RunState.CANCELLED, over.detail
    for folder in newer:
        shutil.rmtree(folder, ignore_errors=True)
    runner.live(runner.commit("Wake up", label=text))


def status_of(runner: Runner) -> dict[str, Any] | str:
    try:
        return runner.client.status().to_json()
    except Unavailable as error:
        return str(error)


def wait_until_it_works(runner: Runner) -> None:
    """From the moment PostgreSQL is back."""

    def works() -> bool | str:
        status = status_of(runner)
        if isinstance(status, str):
            return status
        return not status["ledger_error"] or str(status["ledger_error"])

    wait_until("the ledger to be reached again", works)


def test_a_runner_finds_postgresql_again_however_long_it_was_away(
    runner: Runner, gate: Gate
) -> None:
    gate.shut()
    wait_for_time(time.monotonic() + 17)
    gate.open()
    wait_until_it_works(runner)
    assert runner.run(select="label").state is RunState.SUCCESS

    gate.shut()
    before = runner.process("runner")
    log = runner.home.logs / "runner.log"
    said = log.read_text().count("waiting for PostgreSQL")
    runner.itself().kill()

    def waits() -> bool | str:
        return log.read_text().count("waiting for PostgreSQL") > said or "it does not say so"

    wait_until("the runner to wait", waits)
    gate.open()
    wait_until_it_works(runner)
    assert runner.process("runner")["restarts"] == before["restarts"] + 1
    assert runner.run(select="label").state is RunState.SUCCESS
